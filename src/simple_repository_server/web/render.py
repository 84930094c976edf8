"""From snapshots to bytes, once per snapshot, form and coding."""

import asyncio
import gzip
import hashlib
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec
import zstandard
from isal import igzip

from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.model import File, ProjectList, ProjectPage
from simple_repository_server.threads import in_thread_if
from simple_repository_server.web.compression import compress, to_gzip
from simple_repository_server.web.conditional import compressed_etag, page_etag
from simple_repository_server.web.open_files import JOINED_BYTES
from simple_repository_server.web.rendered import Rendered, Snapshot
from simple_repository_server.wire import html, json
from simple_repository_server.wire.negotiation import Coding, Form, choose_coding, requested_form
from simple_repository_server.wire.urls import segment

DEFAULT_MEMORY_BYTES = 128 * 1024 * 1024
#: What an entry takes beside its variants, and a variant beside its body.
_ENTRY_BYTES = 500
_VARIANT_BYTES = 1000
#: Snapshots with more entries are rendered in a thread.
_RENDER_HERE_ENTRIES = 200
#: Lists with more names are compressed while they are written: see `compression.py`.
COMPRESSED_FROM_NAMES = 50_000
#: Larger bodies are compressed in a thread.
_COMPRESS_HERE_BYTES = 32 * 1024
#: Larger bodies are compressed with a faster level.
_LARGE_BYTES = 256 * 1024
#: How much of a query is read.
_MAX_QUERY = 2048


class Variant(msgspec.Struct, frozen=True):
    """A form with a coding, and its position among all of them."""

    form: Form
    coding: Coding
    slot: int


VARIANTS = tuple(
    Variant(form, coding, slot)
    for slot, (form, coding) in enumerate((form, coding) for form in Form for coding in Coding)
)
_BY_FORM_AND_CODING = {(variant.form, variant.coding): variant for variant in VARIANTS}


def choose_variant(accept: bytes, accept_encoding: bytes, query: bytes) -> Variant:
    """The variant for these request headers and query. Raises `NotAcceptable`.

    `wire/negotiation.py` memoises what it parses, and each `Request` carries its variant.
    """
    form = requested_form(accept.decode("latin-1"), query[:_MAX_QUERY].decode("latin-1"))
    return _BY_FORM_AND_CODING[form, choose_coding(accept_encoding.decode("latin-1"))]


class _Entry(msgspec.Struct):
    snapshot: Callable[[], Snapshot | None]
    variants: list[Rendered | None]

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes; variants may share one body."""
        present = [rendered for rendered in self.variants if rendered is not None]
        sizes = {id(rendered.body): len(rendered.body) for rendered in present}
        joined = sum(size for size in sizes.values() if size <= JOINED_BYTES)
        return _ENTRY_BYTES + _VARIANT_BYTES * len(present) + sum(sizes.values()) + joined


class Renderer:
    """Renders snapshots and caches the bytes, up to `memory_bytes` of them.

    `files_base` is the path from a project's page to the folder of all projects' files. Lists of
    more than `compressed_from_names` names are compressed while they are written. With
    `debug_headers` answers have a `Cache-Status` header.
    """

    def __init__(
        self,
        files_base: str,
        *,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        compressed_from_names: int = COMPRESSED_FROM_NAMES,
        debug_headers: bool = False,
    ) -> None:
        self._files_base = files_base
        self._compressed_from_names = compressed_from_names
        self._debug_headers = debug_headers
        self._entries: MemoryCache[int, _Entry] = MemoryCache(memory_bytes)
        #: The ids of snapshots that were deleted, added by the thread that dropped them.
        self._dead: deque[int] = deque()
        self._flight: SingleFlight[tuple[int, int], Rendered] = SingleFlight()

    def find(self, snapshot: Snapshot, variant: Variant) -> Rendered | None:
        """The bytes, if they are cached."""
        entry = self._entries.get(id(snapshot))
        if entry is None or entry.snapshot() is not snapshot:
            return None
        return entry.variants[variant.slot]

    async def render(self, snapshot: Snapshot, variant: Variant) -> Rendered:
        """The bytes; concurrent calls render them once."""
        key = id(snapshot), variant.slot
        return await self._flight.run(key, partial(self._render, snapshot, variant))

    async def _render(self, snapshot: Snapshot, variant: Variant) -> Rendered:
        if variant.coding is not Coding.IDENTITY:
            plain = _BY_FORM_AND_CODING[variant.form, Coding.IDENTITY]
            identity = self.find(snapshot, plain) or await self.render(snapshot, plain)
            body = await _compressed(identity, variant.coding)
            etag = compressed_etag(identity.etag, variant.coding)
            rendered = self._rendered(body, etag, variant, snapshot)
        elif (
            isinstance(snapshot, ProjectList) and len(snapshot.names) > self._compressed_from_names
        ):
            writer = json if variant.form is Form.JSON else html
            list_ = await asyncio.to_thread(compress, writer.write_list_in_pieces(snapshot))
            etag = page_etag(list_.digest, _TAGS[variant.form])
            rendered = self._rendered(list_.body, etag, variant, snapshot, size=list_.size)
        else:
            is_large = _size(snapshot) > _RENDER_HERE_ENTRIES
            body, digest = await in_thread_if(is_large, self._write, snapshot, variant.form)
            etag = page_etag(digest, _TAGS[variant.form])
            rendered = self._rendered(body, etag, variant, snapshot)
        self._remember(snapshot, variant, rendered)
        return rendered

    def _write(self, snapshot: Snapshot, form: Form) -> tuple[bytes, str]:
        writer = json if form is Form.JSON else html
        if isinstance(snapshot, ProjectList):
            body = writer.write_list(snapshot)
        else:
            folder = f"{self._files_base}{snapshot.name}/"

            def file_url(file: File) -> str:
                return folder + segment(file.filename)

            body = writer.write_page(snapshot, file_url=file_url)
        return body, hashlib.sha256(body).hexdigest()

    def _rendered(
        self,
        body: bytes,
        etag: str,
        variant: Variant,
        snapshot: Snapshot,
        *,
        size: int | None = None,
    ) -> Rendered:
        """The body with its headers; `size` is that of a body that is decompressed on sending."""
        headers = [
            (b"content-type", variant.form.content_type.encode()),
            (b"content-length", str(len(body) if size is None else size).encode()),
            (b"vary", b"Accept, Accept-Encoding"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if variant.coding is not Coding.IDENTITY:
            headers.append((b"content-encoding", variant.coding.encode()))
        headers.append((b"etag", etag.encode()))
        if snapshot.serial is not None:
            headers.append((b"x-pypi-last-serial", str(snapshot.serial).encode()))
        return Rendered(
            etag,
            body,
            headers,
            decompressed_on_send=size is not None,
            debug_headers=self._debug_headers,
        )

    def _remember(self, snapshot: Snapshot, variant: Variant, rendered: Rendered) -> None:
        while self._dead:
            self._entries.discard(self._dead.popleft())
        key = id(snapshot)
        entry = self._entries.get(key)
        if entry is None or entry.snapshot() is not snapshot:
            alive = weakref.ref(snapshot, lambda _: self._dead.append(key))
            entry = _Entry(alive, [None] * len(VARIANTS))
        entry.variants[variant.slot] = rendered
        if entry.weight > self._entries.max_bytes:  # better the last one than none
            entry = _Entry(entry.snapshot, [None] * len(VARIANTS))
            entry.variants[variant.slot] = rendered
        self._entries.put(key, entry, entry.weight)


_TAGS = {Form.JSON: "json", Form.HTML_V1: "v1html", Form.HTML: "html"}


def _size(snapshot: Snapshot) -> int:
    return len(snapshot.files if isinstance(snapshot, ProjectPage) else snapshot.names)


async def _compressed(identity: Rendered, coding: Coding) -> bytes:
    body = identity.body
    if identity.decompressed_on_send:
        return body if coding is Coding.ZSTD else await asyncio.to_thread(to_gzip, body)
    return await in_thread_if(len(body) > _COMPRESS_HERE_BYTES, _compress, body, coding)


def _compress(body: bytes, coding: Coding) -> bytes:
    """The same bytes in every process: no time stamps, levels by size only."""
    large = len(body) > _LARGE_BYTES
    if coding is Coding.ZSTD:
        return zstandard.ZstdCompressor(level=3 if large else 9).compress(body)
    if large:
        return bytes(igzip.compress(body, compresslevel=2, mtime=0))
    return gzip.compress(body, compresslevel=6, mtime=0)
