"""Project pages and lists as HTML (PEP 503, 592, 658, 714, 740, 792), both directions.

Written pages keep one stable shape, an anchor a line: people have scanners that depend on it.
Reading takes what real indexes and plain directory listings have.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from html import escape
from itertools import chain

from simple_repository_server.distributions.filenames import DISTRIBUTION_SUFFIXES
from simple_repository_server.model import File, ProjectList, ProjectPage
from simple_repository_server.names import ProjectName, batched, sorted_unique
from simple_repository_server.wire.html_scan import Element, scan
from simple_repository_server.wire.parsing import (
    HASH_NAMES,
    MAX_BASE_URL,
    MAX_SIZE_DIGITS,
    Entries,
    Read,
    assemble,
    check_version,
    clean_file,
    clean_hashes,
    clean_status,
    collect,
    project_names,
)
from simple_repository_server.wire.urls import last_segment, resolver

#: PEP 833: HTML stays at 1.4 for ever.
HTML_VERSION = "1.4"
#: What may stand in a fragment; uv gives up on a page with any other.
_FRAGMENT_HASHES = ("sha256", "sha512", "sha384", "blake2b", "md5")

_SHA256 = re.compile(r"sha256=[0-9a-f]{64}")
_LINES_AT_ONCE = 2_000
#: How many metas and bases are looked at.
_MAX_HEAD = 1_000


# --- reading -------------------------------------------------------------------------------------


def read_page(text: bytes, *, project: ProjectName, base: str) -> Read:
    """The page in an HTML text, in UTF-8, that came from the address `base`.

    Anchors that are no distribution files (a link to the parent folder, say) are passed over.
    Raises `Malformed` for another major version.
    """
    head, anchors = _parts(text)
    status, reason = (_meta_of(head, f"pypi:project-status{end}") for end in ("", "-reason"))
    address = _base(head, base)
    entries = _entries(anchors, address)
    if (later := _base(head, base)) != address:  # it may stand anywhere, and counts for all links
        entries = _entries(_parts(text)[1], later)
    return assemble(
        project, entries, versions=None, status=clean_status(status, reason), serial=None
    )


def read_list(text: bytes) -> ProjectList:
    """The list of projects in an HTML text: of an anchor its text, or else its address, names one.

    Raises `Malformed` for another major version.
    """
    _, anchors = _parts(text)
    return ProjectList(names=sorted_unique(project_names(_listed_names(anchors))))


def _parts(text: bytes) -> tuple[list[Element], Iterator[Element]]:
    """The anchors, and the metas and bases; those behind an anchor come when that is read."""
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


def _entries(anchors: Iterable[Element], base: str) -> Entries:
    resolve = resolver(base)
    return collect(file for anchor in anchors if (file := _file(anchor, resolve)) is not None)


def _meta_of(head: Iterable[Element], name: str) -> str | None:
    metas = (e.attributes for e in head if e.name == "meta" and e.attributes.get("name") == name)
    return next((attributes.get("content", "") for attributes in metas), None)


def _base(head: Iterable[Element], base: str) -> str:
    """The address that links are relative to: the first `<base>` with one counts."""
    hrefs = (e.attributes["href"] for e in head if e.name == "base" and e.attributes.get("href"))
    href = next(hrefs, "")
    return resolver(base)(href) or base if 0 < len(href) <= MAX_BASE_URL else base


def _listed_names(anchors: Iterable[Element]) -> Iterator[str]:
    for anchor in anchors:
        name = anchor.text.strip().rstrip("/")
        yield name
        if not name or " " in name:
            yield last_segment(anchor.attributes.get("href", "").rstrip("/"))


def _file(anchor: Element, resolve: Callable[[str], str | None]) -> File | str | None:
    attributes = anchor.attributes
    href, _, fragment = attributes.get("href", "").strip().partition("#")
    name = last_segment(href)
    if not name.endswith(DISTRIBUTION_SUFFIXES):
        name = anchor.text.strip()
        if not href or not name.endswith(DISTRIBUTION_SUFFIXES):
            return None
    announced = attributes.get("data-core-metadata")
    if announced is None:
        announced = attributes.get("data-dist-info-metadata", "false")
    gpg_sig = attributes.get("data-gpg-sig")
    return clean_file(
        name,
        href,
        resolve,
        hashes=_hash(fragment),
        size=_size(attributes.get("data-size")),
        upload_time=_time(attributes.get("data-upload-time")),
        requires_python=attributes.get("data-requires-python"),
        core_metadata=_announced(announced),
        yanked=(attributes["data-yanked"] or True) if "data-yanked" in attributes else False,
        gpg_sig=None if gpg_sig not in ("true", "false") else gpg_sig == "true",
        provenance=attributes.get("data-provenance"),
    )


def _hash(fragment: str) -> dict[str, str]:
    if _SHA256.fullmatch(fragment):
        return {"sha256": fragment[7:]}
    for part in fragment.split("&"):
        name, separator, value = part.partition("=")
        if separator and name.lower() in HASH_NAMES:
            return dict(clean_hashes({name: value}))
    return {}


def _announced(value: str) -> bool | dict[str, str]:
    # PEP 714: `true`, or a digest; anything else but "false" is taken as `true`, as pip does.
    if value == "false":
        return False
    return _hash(value) or True


def _size(value: str | None) -> int | None:
    if not value or not value.isascii() or not value.isdigit() or len(value) > MAX_SIZE_DIGITS:
        return None
    return int(value)


def _time(value: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if value else None
    except ValueError:
        return None


# --- writing -------------------------------------------------------------------------------------


def write_page(page: ProjectPage, *, file_url: Callable[[File], str]) -> bytes:
    """The page as HTML; `file_url` says which address a client is given for a file."""
    head = ""
    if page.status is not None:
        head = _meta("pypi:project-status", page.status.status)
        if page.status.reason:
            head += _meta("pypi:project-status-reason", page.status.reason)
    anchors = (_anchor(file, file_url(file)) for file in page.files)
    return b"".join(_document(_head(f"Links for {page.name}", head), anchors, page.serial))


def write_list(projects: ProjectList) -> bytes:
    """The list of projects as HTML."""
    return b"".join(write_list_in_pieces(projects))


def write_list_in_pieces(projects: ProjectList) -> Iterator[bytes]:
    """The same, piece by piece."""
    # Clients look at anchors only: people see what is missing.
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
    """Head, lines and end, encoded in steps, so that other threads run in between."""
    yield head.encode()
    for step in batched(lines, _LINES_AT_ONCE):
        yield "".join(step).encode()
    end = "" if serial is None else f"<!--SERIAL {serial}-->\n"
    yield f"</body></html>\n{end}".encode()


def _anchor(file: File, url: str) -> str:
    parts = [f'<a href="{escape(url)}']
    for name in _FRAGMENT_HASHES:
        if name in file.hashes:
            parts.append(f"#{name}={file.hashes[name]}")
            break
    if file.requires_python:
        parts.append(f'" data-requires-python="{escape(file.requires_python)}')
    if file.core_metadata:
        # PEP 714: both spellings, and the same value in both.
        value = _announcement(file.core_metadata)
        parts.append(f'" data-dist-info-metadata="{value}" data-core-metadata="{value}')
    if file.yanked is not False:
        parts.append(f'" data-yanked="{"" if file.yanked is True else escape(file.yanked)}')
    if file.gpg_sig is not None:
        parts.append(f'" data-gpg-sig="{"true" if file.gpg_sig else "false"}')
    if file.provenance and file.provenance.startswith("https://"):
        parts.append(f'" data-provenance="{escape(file.provenance)}')
    if file.size is not None:
        parts.append(f'" data-size="{file.size}')
    if file.upload_time is not None:
        parts.append(f'" data-upload-time="{_rfc3339(file.upload_time)}')
    parts.append(f'">{escape(file.filename)}</a><br />\n')
    return "".join(parts)


def _announcement(core_metadata: bool | Mapping[str, str]) -> str:
    if isinstance(core_metadata, bool):
        return "true"
    return next(f"{name}={value}" for name, value in core_metadata.items())


def _rfc3339(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"
