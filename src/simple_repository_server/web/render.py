"""From snapshots to bytes, once per snapshot, form and coding."""

import asyncio
import gzip
import hashlib
import weakref
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial

import msgspec
import zstandard
from isal import igzip

from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.model import File, FreshnessInfo, ProjectList, ProjectPage
from simple_repository_server.web.compression import fold, refold
from simple_repository_server.web.problems import Headers
from simple_repository_server.web.reply import JOINED_BYTES, Head, Reply
from simple_repository_server.wire import html, json
from simple_repository_server.wire.negotiation import (
    Coding,
    Form,
    choose_coding,
    requested_form,
)
from simple_repository_server.wire.urls import segment

Snapshot = ProjectPage | ProjectList

DEFAULT_MEMORY_BYTES = 128 * 1024 * 1024
#: Snapshots with more entries are rendered in a thread.
_RENDER_HERE_ENTRIES = 200
#: Lists with more names are never there as a whole: see `folding`.
_FOLD_FROM_NAMES = 50_000
#: Larger bodies are compressed in a thread, and with a faster level.
_COMPRESS_HERE_BYTES, _LARGE_BYTES = 32 * 1024, 256 * 1024
#: Smaller bodies are not worth compressing.
_COMPRESS_FROM_BYTES = 200
#: How many negotiations are remembered, and how much of a header counts.
_REMEMBERED, _MAX_HEADER = 128, 2048


class Variant(msgspec.Struct, frozen=True):
    """A form with a coding, and its place among all of them."""

    form: Form
    coding: Coding
    slot: int


VARIANTS = tuple(
    Variant(form, coding, slot)
    for slot, (form, coding) in enumerate((form, coding) for form in Form for coding in Coding)
)


def choose_variant(accept: bytes, accept_encoding: bytes, query: bytes) -> Variant:
    """The variant for these request headers and query. Raises `NotAcceptable`."""
    if query and b"format=" not in query:
        query = b""
    return _choose(accept[:_MAX_HEADER], accept_encoding[:_MAX_HEADER], query[:_MAX_HEADER])


@lru_cache(maxsize=_REMEMBERED)
def _choose(accept: bytes, accept_encoding: bytes, query: bytes) -> Variant:
    form = requested_form(accept.decode("latin-1"), query.decode("latin-1"))
    coding = choose_coding(accept_encoding.decode("latin-1"))
    return next(v for v in VARIANTS if v.form is form and v.coding is coding)


def _no_reply() -> Reply:
    return Reply(Head(0, []))


class Rendered(msgspec.Struct):
    """A body, ready to be sent, with the answers that are made of it: 200 and 304.

    What their headers say of its freshness changes once a second at the most, so the answers are
    remembered, too.
    """

    etag: str
    body: bytes
    #: The headers that are always the same.
    headers: Headers
    #: The body is zstd-coded, and to be unfolded (`folding.unfolded`) on its way to the client.
    folded: bool = False
    freshness: FreshnessInfo | None = None
    complete: Reply = msgspec.field(default_factory=_no_reply)
    unchanged: Reply = msgspec.field(default_factory=_no_reply)

    def set_freshness(self, freshness: FreshnessInfo, incomplete: tuple[str, ...] = ()) -> None:
        """Build the answers anew: their headers say how fresh it is, and what is missing in it."""
        max_age, age, warning = freshness
        headers = [*self.headers, _lifetime(0 if incomplete else max_age)]
        if age is not None:
            headers.append((b"age", b"%d" % age))
        if warning:
            headers.append((b"warning", _warning(110, f"stale: {warning}")))
        headers += [(b"warning", _warning(199, f"incomplete: {text}")) for text in incomplete]
        self.complete = Reply(Head(200, headers), self.body, lasting=True)
        about_itself = [pair for pair in headers if pair[0] not in _ABOUT_BODY]
        self.unchanged = Reply(Head(304, about_itself), lasting=True)
        self.freshness = freshness


#: Of the headers of a 200 a 304 repeats those that do not tell about its body (RFC 9110 §15.4.5).
_ABOUT_BODY = frozenset({b"content-type", b"content-length", b"content-encoding"})


def _lifetime(max_age_s: int) -> tuple[bytes, bytes]:
    """The `Cache-Control` of a page: for how long clients need not ask again."""
    if max_age_s <= 0:
        return b"cache-control", b"max-age=0, must-revalidate"
    return b"cache-control", b"public, max-age=%d" % max_age_s


def _warning(code: int, text: str) -> bytes:
    quoted = text.encode("ascii", "replace").replace(b"\\", b"/").replace(b'"', b"'")
    return b'%d - "%b"' % (code, bytes(byte for byte in quoted if 0x20 <= byte < 0x7F))  # noqa: PLR2004


class _Entry(msgspec.Struct):
    snapshot: Callable[[], Snapshot | None]
    variants: list[Rendered | None]

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes; variants may have one body between them."""
        there = [rendered for rendered in self.variants if rendered is not None]
        sizes = {id(rendered.body): len(rendered.body) for rendered in there}
        joined = sum(size for size in sizes.values() if size <= JOINED_BYTES)
        return 500 + 800 * len(there) + sum(sizes.values()) + joined


class Renderer:
    """Renders snapshots and remembers the bytes, up to `memory_bytes` of them.

    `files_base` is the path from a project's page to the folder of all projects' files.
    """

    def __init__(self, files_base: str, *, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        self._files_base = files_base
        self._entries: MemoryCache[int, _Entry] = MemoryCache(memory_bytes)
        #: The ids of snapshots that are gone, left here by whichever thread dropped them.
        self._dead: deque[int] = deque()
        self._flight: SingleFlight[tuple[int, int], Rendered] = SingleFlight()

    def find(self, snapshot: Snapshot, variant: Variant) -> Rendered | None:
        """The bytes, if they are remembered."""
        entry = self._entries.get(id(snapshot))
        if entry is None or entry.snapshot() is not snapshot:
            return None
        return entry.variants[variant.slot]

    async def render(self, snapshot: Snapshot, variant: Variant) -> Rendered:
        """The bytes, rendered once for all who ask at the same time."""
        key = id(snapshot), variant.slot
        return await self._flight.run(key, partial(self._render, snapshot, variant))

    async def _render(self, snapshot: Snapshot, variant: Variant) -> Rendered:
        if variant.coding is not Coding.IDENTITY:
            plain = VARIANTS[variant.slot - variant.slot % len(Coding) + len(Coding) - 1]
            identity = self.find(snapshot, plain) or await self.render(snapshot, plain)
            body = await _compressed(identity, variant.coding)
            rendered = _rendered(body, identity.etag, variant, snapshot)
        elif isinstance(snapshot, ProjectList) and len(snapshot.names) > _FOLD_FROM_NAMES:
            writer = json if variant.form is Form.JSON else html
            folded = await asyncio.to_thread(fold, writer.write_list_in_pieces(snapshot))
            etag = f'"{folded.digest}-{_TAGS[variant.form]}"'
            rendered = _rendered(folded.body, etag, variant, snapshot, unfolded=folded.size)
        else:
            body, digest = await self._written(snapshot, variant.form)
            rendered = _rendered(body, f'"{digest}-{_TAGS[variant.form]}"', variant, snapshot)
        self._remember(snapshot, variant, rendered)
        return rendered

    async def _written(self, snapshot: Snapshot, form: Form) -> tuple[bytes, str]:
        if _size(snapshot) > _RENDER_HERE_ENTRIES:
            return await asyncio.to_thread(self._write, snapshot, form)
        return self._write(snapshot, form)

    def _write(self, snapshot: Snapshot, form: Form) -> tuple[bytes, str]:
        writer = json if form is Form.JSON else html
        if isinstance(snapshot, ProjectList):
            body = writer.write_list(snapshot)
        else:
            folder = f"{self._files_base}{snapshot.name}/"

            def file_url(file: File) -> str:
                return folder + segment(file.filename)

            body = writer.write_page(snapshot, file_url=file_url)
        return body, hashlib.sha256(body).hexdigest()[:32]

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


def _rendered(
    body: bytes, etag: str, variant: Variant, snapshot: Snapshot, *, unfolded: int | None = None
) -> Rendered:
    """The body with its headers; `unfolded` is its size once it is unfolded, if it is folded."""
    size = len(body) if unfolded is None else unfolded
    headers = [
        (b"content-type", variant.form.content_type.encode()),
        (b"content-length", str(size).encode()),
        (b"vary", b"Accept, Accept-Encoding"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if variant.coding is not Coding.IDENTITY:
        etag = f'{etag[:-1]}-{variant.coding}"'
        headers.append((b"content-encoding", variant.coding.encode()))
    headers.append((b"etag", etag.encode()))
    if snapshot.serial is not None:
        headers.append((b"x-pypi-last-serial", str(snapshot.serial).encode()))
    return Rendered(etag, body, headers, folded=unfolded is not None)


async def _compressed(identity: Rendered, coding: Coding) -> bytes:
    body = identity.body
    if identity.folded:
        return body if coding is Coding.ZSTD else await asyncio.to_thread(refold, body)
    if len(body) > _COMPRESS_HERE_BYTES:
        return await asyncio.to_thread(_compress, body, coding)
    return _compress(body, coding)


def _compress(body: bytes, coding: Coding) -> bytes:
    """The same bytes in every process: no time stamps, levels by size only."""
    large = len(body) > _LARGE_BYTES
    if coding is Coding.ZSTD:
        return zstandard.ZstdCompressor(level=3 if large else 9).compress(body)
    if large:
        return bytes(igzip.compress(body, compresslevel=2, mtime=0))
    return gzip.compress(body, compresslevel=6, mtime=0)
