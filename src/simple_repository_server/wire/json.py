"""Project pages and lists as JSON (PEP 691, 700, 714, 740, 792), both directions.

Reading takes the short way (typed decoding in one go) for pages that are as they should be, and
goes entry by entry where something is odd or the text is so large that decoding it at once would
hold up the event loop.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from simple_repository_server.errors import InvalidName, Malformed
from simple_repository_server.model import NOTHING, File, ProjectList, ProjectPage
from simple_repository_server.names import FileName, ProjectName, in_steps, sorted_unique
from simple_repository_server.wire.json_steps import array_elements, is_large
from simple_repository_server.wire.reading import (
    MAX_SIZE_DIGITS,
    Read,
    assemble,
    check_project,
    check_version,
    clean_hashes,
    clean_status,
    clean_time,
    project_names,
)
from simple_repository_server.wire.urls import resolver

#: The version whose rules our pages follow when every file has a size, and else (PEP 700).
API_VERSION, API_VERSION_WITHOUT_SIZES = "1.4", "1.0"

_FILES_AT_ONCE = 2_000
_NAMES_AT_ONCE = 2_000


# --- reading -------------------------------------------------------------------------------------


class _File(msgspec.Struct, rename="kebab", gc=False):
    filename: str
    url: str
    hashes: dict[str, str | None] | None = None
    size: int | None = None
    upload_time: datetime | None = None
    requires_python: str | None = None
    core_metadata: bool | dict[str, str | None] | None = None
    dist_info_metadata: bool | dict[str, str | None] | None = None
    data_dist_info_metadata: bool | dict[str, str | None] | None = None
    yanked: bool | str | None = None
    gpg_sig: bool | None = None
    provenance: str | None = None


_FIELDS = {field.encode_name: field for field in msgspec.structs.fields(_File)}


class _Page(msgspec.Struct, rename="kebab"):
    files: list[_File]
    meta: dict[str, Any] | None = None
    name: str | None = None
    versions: list[str] | None = None
    project_status: dict[str, Any] | None = None


_page_decoder = msgspec.json.Decoder(_Page)


def _decode(text: bytes) -> _Page | None:
    try:
        return _page_decoder.decode(text)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"it is not JSON ({error})") from error


def read_page(text: bytes, *, project: ProjectName, base: str, private: bool = False) -> Read:
    """The page in a JSON text that came from the address `base`.

    Keys with a leading underscore are another server's own and left out, unless `private`.
    Raises `Malformed` for what is no page, speaks another major version or is another project's.
    """
    resolve = resolver(base)
    entries: Iterable[File | str]
    page = None if private or is_large(text) else _decode(text)
    if page is not None:
        rest: dict[str, Any] = {
            "meta": page.meta,
            "name": page.name,
            "versions": page.versions,
            "project-status": page.project_status,
        }
        entries = (_file(entry, resolve) for entry in page.files)
    else:
        rest = {}
        files = array_elements(text, "files", rest)
        entries = [_odd_file(entry, resolve=resolve, private=private) for entry in files]
    meta = _mapping(rest.get("meta"))
    check_version(meta.get("api-version"))
    check_project(rest.get("name"), project)
    status = _mapping(rest.get("project-status") or meta.get("project-status"))
    return assemble(
        project,
        entries,
        versions=_strings(rest.get("versions")),
        status=clean_status(status.get("status"), status.get("reason")),
        serial=_serial(meta),
        private=_private(rest) if private else NOTHING,
    )


def read_list(text: bytes) -> ProjectList:
    """The list of projects in a JSON text. Raises `Malformed`."""
    rest: dict[str, Any] = {}
    projects = array_elements(text, "projects", rest)
    names = sorted_unique(project_names(_mapping(entry).get("name") for entry in projects))
    meta = _mapping(rest.get("meta"))
    check_version(meta.get("api-version"))
    return ProjectList(names=names, serial=_serial(meta))


def _file(entry: _File, resolve: Callable[[str], str | None]) -> File | str:
    url = resolve(entry.url.partition("#")[0])
    if url is None:
        return f"{entry.filename[:80]} (address {entry.url[:80]!r})"
    try:
        filename = FileName(entry.filename)
    except InvalidName as error:
        return str(error)
    announced = entry.core_metadata
    if announced is None:
        announced = entry.dist_info_metadata
    if announced is None:
        announced = entry.data_dist_info_metadata
    return File(
        filename=filename,
        url=url,
        hashes=clean_hashes(entry.hashes) if entry.hashes else NO_HASHES,
        size=_size(entry.size),
        upload_time=clean_time(entry.upload_time),
        requires_python=entry.requires_python or None,
        core_metadata=_announced(announced),
        yanked=entry.yanked or False,
        gpg_sig=entry.gpg_sig,
        provenance=entry.provenance or None,
    )


NO_HASHES: Mapping[str, str] = {}


def _size(value: int | None) -> int | None:
    return value if value is not None and 0 <= value < 10**MAX_SIZE_DIGITS else None


def _announced(value: bool | dict[str, str | None] | None) -> bool | Mapping[str, str]:
    if isinstance(value, dict):
        return clean_hashes(value) or True
    return bool(value)


def _odd_file(entry: object, *, resolve: Callable[[str], str | None], private: bool) -> File | str:
    """As `_file`, from an entry of which any value may be anything."""
    kept: dict[str, Any] = {}
    given = _mapping(entry)
    for key, field in _FIELDS.items():
        if key in given:
            try:
                kept[field.name] = msgspec.convert(given[key], field.type)
            except msgspec.ValidationError:
                continue
    if "filename" not in kept or "url" not in kept:
        return f"an entry without a usable name or address ({str(entry)[:80]})"
    file = _file(_File(**kept), resolve)
    if private and isinstance(file, File):
        return msgspec.structs.replace(file, private=_private(given))
    return file


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(dict.fromkeys(item for item in value if isinstance(item, str) and item))


def _serial(meta: Mapping[str, Any]) -> int | None:
    serial = meta.get("_last-serial")
    return serial if isinstance(serial, int) and not isinstance(serial, bool) else None


def _private(given: Mapping[str, Any]) -> Mapping[str, object]:
    return {key: value for key, value in given.items() if key.startswith("_")}


# --- writing -------------------------------------------------------------------------------------


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


#: Names are subclasses of `str`, which msgspec asks about.
_encode = msgspec.json.Encoder(enc_hook=str).encode


def write_page(page: ProjectPage, *, file_url: Callable[[File], str]) -> bytes:
    """The page as JSON; `file_url` says which address a client is given for a file.

    It claims version 1.4 only when every file has the size that this demands; what else is known
    (dates, status) is told in any case, as clients must ignore keys they do not know.
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
    steps = (_encode(step)[1:-1] for step in in_steps(files, _FILES_AT_ONCE))
    return b"".join(_with_array(head, "files", steps))


def write_list(projects: ProjectList) -> bytes:
    """The list of projects as JSON."""
    return b"".join(write_list_in_pieces(projects))


def write_list_in_pieces(projects: ProjectList) -> Iterator[bytes]:
    """The same, piece by piece."""
    meta: dict[str, object] = {} if projects.serial is None else {"_last-serial": projects.serial}
    head = {"meta": {**meta, "api-version": API_VERSION}, **projects.private}
    # Nothing in a name needs escaping.
    steps = ('"},{"name":"'.join(step) for step in in_steps(projects.names, _NAMES_AT_ONCE))
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
    """`head` as a JSON object with an array at its end, of which each step has some elements."""
    yield _encode(head)[:-1] + b',"%b":[' % key.encode()
    comma = b""
    for step in steps:
        yield comma + step
        comma = b","
    yield b"]}"
