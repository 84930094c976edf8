"""Project pages and lists as JSON (PEP 691, 700, 714, 740, 792), parsed and serialised.

Valid entries are decoded to their types at once; an entry with an invalid value is parsed value by
value.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from simple_repository_server.model import File, ProjectList, ProjectPage
from simple_repository_server.names import ProjectName, batched, sorted_unique
from simple_repository_server.wire.files import Entry, Resolve, parse_file, parse_files
from simple_repository_server.wire.json_stream import (
    PIECE_BYTES,
    elements,
    members,
    stream_array,
    value,
)
from simple_repository_server.wire.parsing import (
    ParsedPage,
    build_page,
    check_project,
    check_version,
    collect,
    parse_serial,
    parse_status,
    parse_versions,
    project_names,
)
from simple_repository_server.wire.urls import resolver

#: The API version of our pages if every file has a size.
API_VERSION = "1.4"
#: PEP 700 requires sizes from 1.1 on.
API_VERSION_WITHOUT_SIZES = "1.0"
#: Our own key of `meta` (PEP 700): what is missing in a list, one sentence each.
INCOMPLETE = "_incomplete"

_FILES_AT_ONCE = 2_000
_NAMES_AT_ONCE = 2_000


# --- parsing -------------------------------------------------------------------------------------


_FIELDS = {field.encode_name: field for field in msgspec.structs.fields(Entry)}


class _Project(msgspec.Struct, gc=False):
    name: str


class _Page(msgspec.Struct, rename="kebab", gc=False):
    files: list[Entry]
    meta: dict[str, Any] | None = None
    name: Any = None
    versions: list[Any] | None = None
    project_status: dict[str, Any] | None = None


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_files = msgspec.json.Decoder(list[Entry]).decode
_decode_projects = msgspec.json.Decoder(list[_Project]).decode
_decode_versions = msgspec.json.Decoder(list[str]).decode


def read_page(
    text: bytes, *, project: ProjectName, base: str, piece_bytes: int = PIECE_BYTES
) -> ParsedPage:
    """The page in a JSON text that came from the address `base`, parsed in pieces of that size.

    Keys with a leading underscore are another server's own and left out. Raises `Malformed` for
    a text that is no page, of another major version, or of another project.
    """
    resolve = resolver(base)
    page = _at_once(text) if len(text) <= piece_bytes else None
    if page is None:
        page = _Page(files=[])
        entries = collect(_in_pieces(text, page, resolve, piece_bytes), project)
    else:
        entries = collect(parse_files(page.files, resolve), project)
    meta, status = page.meta or {}, page.project_status or {}
    check_version(meta.get("api-version"))
    check_project(page.name, project)
    if status.get("status") is None:
        status = _object(meta.get("project-status")) or {}
    return build_page(
        project,
        entries,
        versions=None if page.versions is None else parse_versions(page.versions),
        status=parse_status(status.get("status"), status.get("reason")),
        serial=parse_serial(meta.get("_last-serial")),
    )


def _at_once(text: bytes) -> _Page | None:
    """A small valid page; None if it has to be parsed in pieces.

    Both give the same result, also for repeated keys: of all but `files` the last one counts.
    """
    if b"\\" in text or text.count(b'"files"') != 1:
        return None
    try:
        return _decode_page(text)
    except (ValueError, RecursionError):
        return None


def _in_pieces(
    text: bytes, page: _Page, resolve: Resolve, piece_bytes: int
) -> Iterator[File | str]:
    """The files of a page; its other members are put into `page` at the end."""
    others = dict.fromkeys(("meta", "name", "versions", "project-status"), b"null")
    for batch in stream_array(text, "files", _decode_files, others, piece_bytes=piece_bytes):
        entries = [entry for entry in batch if isinstance(entry, Entry)]
        if len(entries) == len(batch):
            yield from parse_files(entries, resolve)
        else:
            yield from (_odd_file(entry, resolve) for entry in batch)
    meta = members(others["meta"], "api-version", "_last-serial", "project-status")
    status = members(others["project-status"], "status", "reason")
    page.meta = {key: value(text) for key, text in meta.items()}
    page.project_status = {key: value(text) for key, text in status.items()}
    page.name = value(others["name"])
    if others["versions"][:1] == b"[":
        versions = chain.from_iterable(
            elements(others["versions"], _decode_versions, piece_bytes=piece_bytes)
        )
        page.versions = [*parse_versions(versions)]  # unique, and so bounded


def _object(found: object) -> dict[str, Any] | None:
    return found if isinstance(found, dict) else None


def read_list(text: bytes, *, piece_bytes: int = PIECE_BYTES) -> ProjectList:
    """The list of projects in a JSON text, parsed in pieces of that size. Raises `Malformed`."""
    others = {"meta": b"null"}
    projects = chain.from_iterable(
        stream_array(text, "projects", _decode_projects, others, piece_bytes=piece_bytes)
    )
    names = sorted_unique(project_names(_name(entry) for entry in projects))
    meta = members(others["meta"], "api-version", "_last-serial")
    check_version(value(meta["api-version"]))
    return ProjectList(names=names, serial=parse_serial(value(meta["_last-serial"])))


def _name(entry: object) -> object:
    if isinstance(entry, _Project):
        return entry.name
    return entry.get("name") if isinstance(entry, dict) else None


def _odd_file(entry: object, resolve: Resolve) -> File | str:
    """As `parse_file`, from an entry whose values may have any type."""
    if isinstance(entry, Entry):
        return parse_file(entry, resolve)
    if not isinstance(entry, dict) or "filename" not in entry or "url" not in entry:
        return "an entry without a name or an address"
    usable: dict[str, Any] = {}
    for key, field in _FIELDS.items():
        if key in entry:
            try:
                usable[field.name] = msgspec.convert(entry[key], field.type)
            except msgspec.ValidationError:
                continue
    if "filename" not in usable or "url" not in usable:
        return "an entry whose name or address is not a text"
    return parse_file(Entry(**usable), resolve)


# --- serialising ---------------------------------------------------------------------------------


class _FileOut(msgspec.Struct, rename="kebab", gc=False):
    filename: str
    url: str
    hashes: Mapping[str, str]
    size: int | UnsetType = UNSET
    upload_time: datetime | UnsetType = UNSET
    requires_python: str | UnsetType = UNSET
    core_metadata: bool | Mapping[str, str] | UnsetType = UNSET
    yanked: bool | str = False
    gpg_sig: bool | UnsetType = UNSET
    provenance: str | UnsetType = UNSET


#: Names are subclasses of `str`, which msgspec passes to the hook.
_encode = msgspec.json.Encoder(enc_hook=str).encode


def write_page(page: ProjectPage, *, file_url: Callable[[File], str]) -> bytes:
    """The page as JSON; `file_url` returns the address of a file for clients.

    Its API version is 1.4 only if every file has a size. Newer keys (dates, status) are included in
    any case, as clients must ignore unknown ones.
    """
    sized = all(file.size is not None for file in page.files)
    meta: dict[str, object] = {} if page.serial is None else {"_last-serial": page.serial}
    meta["api-version"] = API_VERSION if sized else API_VERSION_WITHOUT_SIZES
    head: dict[str, object] = {"meta": meta, "name": page.name, **page.private}
    if page.status is not None:
        reason = {"reason": page.status.reason} if page.status.reason else {}
        head["project-status"] = {"status": page.status.status, **reason}
    head["versions"] = page.versions
    files = (_out(file, file_url(file)) for file in page.files)
    steps = (_encode(step)[1:-1] for step in batched(files, _FILES_AT_ONCE))
    return b"".join(_with_array(head, "files", steps))


def write_list(projects: ProjectList) -> bytes:
    """The list of projects as JSON."""
    return b"".join(write_list_in_pieces(projects))


def write_list_in_pieces(projects: ProjectList) -> Iterator[bytes]:
    """The same in pieces."""
    meta: dict[str, object] = {} if projects.serial is None else {"_last-serial": projects.serial}
    if projects.incomplete:
        meta[INCOMPLETE] = projects.incomplete
    head = {"meta": {**meta, "api-version": API_VERSION}, **projects.private}
    # Nothing in a name needs escaping.
    steps = ('"},{"name":"'.join(step) for step in batched(projects.names, _NAMES_AT_ONCE))
    return _with_array(head, "projects", (f'{{"name":"{step}"}}'.encode() for step in steps))


def _out(file: File, url: str) -> object:
    out = _FileOut(
        filename=file.filename,
        url=url,
        hashes=file.hashes,
        size=UNSET if file.size is None else file.size,
        upload_time=file.upload_time or UNSET,
        requires_python=file.requires_python or UNSET,
        core_metadata=file.core_metadata or UNSET,
        yanked=file.yanked,
        gpg_sig=UNSET if file.gpg_sig is None else file.gpg_sig,
        provenance=file.provenance or UNSET,
    )
    return {**msgspec.to_builtins(out, enc_hook=str), **file.private} if file.private else out


def _with_array(head: Mapping[str, object], key: str, steps: Iterable[bytes]) -> Iterator[bytes]:
    """`head` as a JSON object with an array at its end, whose elements come in `steps`."""
    yield _encode(head)[:-1] + b',"%b":[' % key.encode()
    comma = b""
    for step in steps:
        yield comma + step
        comma = b","
    yield b"]}"
