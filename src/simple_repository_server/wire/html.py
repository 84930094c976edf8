"""Project pages and lists as HTML (PEP 503, 592, 658, 714, 740, 792), parsed and serialised.

Serialised pages have a stable layout, one anchor a line: scanners of our users depend on it.
Parsing accepts the pages of real indexes and plain directory listings.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from html import escape
from itertools import chain

import msgspec

from simple_repository_server.distributions.filenames import DISTRIBUTION_SUFFIXES
from simple_repository_server.model import File, ProjectList, ProjectPage
from simple_repository_server.names import ProjectName, batched, sorted_unique
from simple_repository_server.wire.files import Digests, Entry, parse_files
from simple_repository_server.wire.html_scan import Element, scan
from simple_repository_server.wire.parsing import (
    HASH_NAMES,
    MAX_BASE_URL,
    MAX_SIZE_DIGITS,
    Entries,
    ParsedPage,
    build_page,
    check_version,
    collect,
    parse_status,
    project_names,
)
from simple_repository_server.wire.urls import last_segment, resolver

#: PEP 833: HTML pages stay at version 1.4.
HTML_VERSION = "1.4"
#: Digests allowed in a fragment; uv rejects a page with any other.
_FRAGMENT_HASHES = ("sha256", "sha512", "sha384", "blake2b", "md5")

#: Most anchors have no other attributes.
_USUAL_ATTRIBUTES = frozenset(
    ("href", "data-requires-python", "data-core-metadata", "data-dist-info-metadata")
)
_LINES_AT_ONCE = 2_000
_FILES_AT_ONCE = 500
#: How many metas and bases are read.
_MAX_HEAD = 1_000


# --- parsing -------------------------------------------------------------------------------------


def read_page(text: bytes, *, project: ProjectName, base: str) -> ParsedPage:
    """The page in an HTML text, in UTF-8, that came from the address `base`.

    Anchors of anything but distribution files (the parent folder, say) are skipped.
    Raises `Malformed` for another major version.
    """
    head, anchors = _parts(text)
    status_text = _meta_of(head, "pypi:project-status")
    reason = _meta_of(head, "pypi:project-status-reason")
    address = _base(head, base)
    entries = _entries(anchors, address, project)
    if (later := _base(head, base)) != address:  # a `<base>` after an anchor applies to it, too
        entries = _entries(_parts(text)[1], later, project)
    status = parse_status(status_text, reason)
    return build_page(project, entries, versions=None, status=status, serial=None)


def read_list(text: bytes) -> ProjectList:
    """The list of projects in an HTML text, named by the texts or else the addresses of anchors.

    Raises `Malformed` for another major version.
    """
    _, anchors = _parts(text)
    return ProjectList(names=sorted_unique(project_names(_listed_names(anchors))))


def _parts(text: bytes) -> tuple[list[Element], Iterator[Element]]:
    """The metas and bases, and the anchors; metas behind an anchor are added when it is read."""
    head: list[Element] = []
    anchors = _anchors(text, head)
    first = next(anchors, None)
    check_version(_meta_of(head, "pypi:repository-version"))
    return head, anchors if first is None else chain((first,), anchors)


def _anchors(text: bytes, others: list[Element]) -> Iterator[Element]:
    for element in scan(text):
        if element.name == "a":
            yield element
        elif len(others) < _MAX_HEAD:
            others.append(element)


def _entries(anchors: Iterable[Element], base: str, project: ProjectName) -> Entries:
    resolve = resolver(base)
    entries = (entry for anchor in anchors if (entry := _entry(anchor)) is not None)
    batches = (parse_files(batch, resolve) for batch in batched(entries, _FILES_AT_ONCE))
    return collect(chain.from_iterable(batches), project)


def _meta_of(head: Iterable[Element], name: str) -> str | None:
    metas = (e.attributes for e in head if e.name == "meta" and e.attributes.get("name") == name)
    return next((attributes.get("content", "") for attributes in metas), None)


def _base(head: Iterable[Element], base: str) -> str:
    """The address that links are relative to: that of the first `<base>` with one."""
    hrefs = (e.attributes["href"] for e in head if e.name == "base" and e.attributes.get("href"))
    href = next(hrefs, "")
    return resolver(base)(href) or base if 0 < len(href) <= MAX_BASE_URL else base


def _listed_names(anchors: Iterable[Element]) -> Iterator[str]:
    for anchor in anchors:
        name = anchor.text.strip().rstrip("/")
        yield name
        if not name or " " in name:
            yield last_segment(anchor.attributes.get("href", "").rstrip("/"))


def _entry(anchor: Element) -> Entry | None:
    attributes = anchor.attributes
    href, _, fragment = attributes.get("href", "").strip().partition("#")
    name = href.rpartition("/")[2]
    if "%" in name or "?" in href:
        name = last_segment(href)
    if not name.endswith(DISTRIBUTION_SUFFIXES):
        name = anchor.text.strip()
        if not href or not name.endswith(DISTRIBUTION_SUFFIXES):
            return None
    announced = attributes.get("data-core-metadata")
    if announced is None:
        announced = attributes.get("data-dist-info-metadata", "false")
    entry = Entry(
        filename=name,
        url=href,
        hashes=_hash(fragment) if fragment else None,
        requires_python=attributes.get("data-requires-python"),
        core_metadata=_announced(announced),
    )
    if not attributes.keys() <= _USUAL_ATTRIBUTES:
        _add_optional(entry, attributes)
    return entry


def _add_optional(entry: Entry, attributes: Mapping[str, str]) -> None:
    entry.size = _size(attributes.get("data-size"))
    entry.upload_time = _time(attributes.get("data-upload-time"))
    entry.provenance = attributes.get("data-provenance")
    if "data-yanked" in attributes:
        entry.yanked = attributes["data-yanked"] or True
    if attributes.get("data-gpg-sig") in ("true", "false"):
        entry.gpg_sig = attributes["data-gpg-sig"] == "true"


def _hash(fragment: str) -> Digests | None:
    """The first digest in a fragment, not yet checked."""
    if fragment.startswith("sha256=") and "&" not in fragment:
        return {"sha256": fragment[7:]}
    for part in fragment.split("&"):
        name, separator, value = part.partition("=")
        if separator and name.lower() in HASH_NAMES:
            return {name: value}
    return None


def _announced(value: str) -> bool | Digests:
    # PEP 714: `true`, or a digest; anything else but "false" is taken as `true`, as pip does.
    return value != "false" and (_hash(value) or True)


def _size(value: str | None) -> int | None:
    if not value or not value.isascii() or not value.isdigit() or len(value) > MAX_SIZE_DIGITS:
        return None
    return int(value)


def _time(value: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if value else None
    except ValueError:
        return None


# --- serialising ---------------------------------------------------------------------------------


def write_page(page: ProjectPage, *, file_url: Callable[[File], str]) -> bytes:
    """The page as HTML; `file_url` returns the address of a file for clients."""
    head = ""
    if page.status is not None:
        head = _meta("pypi:project-status", page.status.status)
        if page.status.reason:
            head += _meta("pypi:project-status-reason", page.status.reason)
    urls = [file_url(file) for file in page.files]
    names: list[str] = [file.filename for file in page.files]
    # Checked for the whole page at once: nearly always there is nothing to escape.
    if _has_markup("".join(urls)) or _has_markup("".join(names)):
        urls, names = [escape(url) for url in urls], [escape(name) for name in names]
    anchors = map(_anchor, page.files, urls, names, _upload_times(page.files))
    return b"".join(_document(_head(f"Links for {page.name}", head), anchors, page.serial))


def _has_markup(text: str) -> bool:
    return any(mark in text for mark in "&<>\"'")


def write_list(projects: ProjectList) -> bytes:
    """The list of projects as HTML."""
    return b"".join(write_list_in_pieces(projects))


def write_list_in_pieces(projects: ProjectList) -> Iterator[bytes]:
    """The same in pieces."""
    # For people: clients read anchors only.
    notices = (f"<p>Incomplete: {escape(sentence)}</p>\n" for sentence in projects.incomplete)
    anchors = (f'<a href="{name}/">{name}</a><br />\n' for name in projects.names)
    return _document(_head("Simple index", ""), chain(notices, anchors), projects.serial)


def _head(title: str, metas: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"{_meta('pypi:repository-version', HTML_VERSION)}{metas}"
        f"<title>{escape(title)}</title></head>\n<body><h1>{escape(title)}</h1>\n"
    )


def _meta(name: str, content: str) -> str:
    return f'<meta name="{name}" content="{escape(content)}">'


def _document(head: str, lines: Iterable[str], serial: int | None) -> Iterator[bytes]:
    """Head, lines and end, encoded in batches, so that other threads run in between."""
    yield head.encode()
    for step in batched(lines, _LINES_AT_ONCE):
        yield "".join(step).encode()
    end = "" if serial is None else f"<!--SERIAL {serial}-->\n"
    yield f"</body></html>\n{end}".encode()


def _anchor(file: File, url: str, name: str, upload_time: str) -> str:
    """The line of a file; `url` and `name` are escaped."""
    digests = file.hashes
    fragment = f"#sha256={digests['sha256']}" if "sha256" in digests else _fragment(digests)
    optional = ""
    if file.requires_python:
        optional = f'" data-requires-python="{_escaped(file.requires_python)}'
    if file.core_metadata:
        # PEP 714: both spellings, with the same value.
        value = _announcement(file.core_metadata)
        optional += f'" data-dist-info-metadata="{value}" data-core-metadata="{value}'
    if file.yanked is not False:
        optional += f'" data-yanked="{"" if file.yanked is True else escape(file.yanked)}'
    if file.gpg_sig is not None:
        optional += f'" data-gpg-sig="{"true" if file.gpg_sig else "false"}'
    if file.provenance and file.provenance.startswith("https://"):
        optional += f'" data-provenance="{escape(file.provenance)}'
    if file.size is not None:
        optional += f'" data-size="{file.size}'
    if upload_time:
        optional += f'" data-upload-time="{upload_time}'
    return f'<a href="{url}{fragment}{optional}">{name}</a><br />\n'


#: A page has few different values of Requires-Python, none of them long.
_escaped = lru_cache(maxsize=256)(escape)


def _fragment(digests: Mapping[str, str]) -> str:
    return next((f"#{key}={digests[key]}" for key in _FRAGMENT_HASHES if key in digests), "")


def _announcement(core_metadata: bool | Mapping[str, str]) -> str:
    if not isinstance(core_metadata, bool):
        for name, value in core_metadata.items():
            return f"{name}={value}"
    return "true"


def _upload_times(files: Iterable[File]) -> list[str]:
    """Of each file its time as in RFC 3339, "" if unknown; formatted all at once."""
    encoded = msgspec.json.encode([file.upload_time for file in files]).decode()
    return [text.strip('"') if text != "null" else "" for text in encoded[1:-1].split(",")]
