"""Project pages and lists as HTML (PEP 503, 592, 658, 714, 740, 792), both directions.

Written pages keep one stable shape, an anchor a line: people have scanners that depend on it.
Reading takes what real indexes and plain directory listings have.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from html import escape

from selectolax.lexbor import LexborHTMLParser

from simple_repository_server.distributions.filenames import DISTRIBUTION_SUFFIXES
from simple_repository_server.errors import InvalidName
from simple_repository_server.model import NOTHING, File, ProjectList, ProjectPage
from simple_repository_server.names import FileName, ProjectName, in_steps, sorted_unique
from simple_repository_server.wire.html_pieces import pieces
from simple_repository_server.wire.reading import (
    HASH_NAMES,
    MAX_SIZE_DIGITS,
    Read,
    assemble,
    check_version,
    clean_hashes,
    clean_status,
    clean_time,
    project_names,
)
from simple_repository_server.wire.urls import last_segment, resolver

#: PEP 833: HTML stays at 1.4 for ever.
HTML_VERSION = "1.4"
#: What may stand in a fragment; uv gives up on a page with any other.
_FRAGMENT_HASHES = ("sha256", "sha512", "sha384", "blake2b", "md5")

_LINES_AT_ONCE = 2_000

_Attributes = dict[str, str | None]


# --- reading -------------------------------------------------------------------------------------


def read_page(text: str, *, project: ProjectName, base: str) -> Read:
    """The page in an HTML text that came from the address `base`.

    Anchors that are no distribution files (a link to the parent folder, say) are passed over.
    Raises `Malformed` for another major version.
    """
    document = _Document(text, base)
    resolve = resolver(document.base)
    metas = document.metas
    return assemble(
        project,
        (file for anchor in document.anchors() if (file := _file(*anchor, resolve)) is not None),
        versions=None,
        status=clean_status(
            metas.get("pypi:project-status"), metas.get("pypi:project-status-reason")
        ),
        serial=None,
        private=NOTHING,
    )


def read_list(text: bytes) -> ProjectList:
    """The list of projects in an HTML text: of an anchor its text, or else its address, names one.

    A large text is parsed piece by piece. Raises `Malformed` for another major version.
    """
    documents = (_Document(piece.decode("utf-8", "replace"), "") for piece in pieces(text))
    names = (name for document in documents for name in _listed_names(document))
    return ProjectList(names=sorted_unique(project_names(names)))


class _Document:
    """A parsed document: its base address, its metas, and a walk over its anchors."""

    def __init__(self, text: str, base: str) -> None:
        # Parsing lets other threads run; the steps over the nodes are taken one by one.
        self._root = LexborHTMLParser(text).root
        self.base = base
        self.metas: dict[str, str] = {}
        for node in self._root.traverse() if self._root is not None else ():
            if node.tag == "meta":
                attributes = node.attributes
                self.metas.setdefault(attributes.get("name") or "", attributes.get("content") or "")
            elif node.tag == "base" and (href := node.attributes.get("href")):
                self.base = resolver(base)(href) or base
            elif node.tag == "a":
                break
        check_version(self.metas.get("pypi:repository-version"))

    def anchors(self) -> Iterator[tuple[_Attributes, str]]:
        """The attributes and the text of each anchor."""
        for node in self._root.traverse() if self._root is not None else ():
            if node.tag == "a":
                yield node.attributes, node.text()


def _listed_names(document: _Document) -> Iterator[str]:
    for attributes, text in document.anchors():
        name = text.strip().rstrip("/")
        yield name
        if not name or " " in name:
            yield last_segment((attributes.get("href") or "").rstrip("/"))


def _file(
    attributes: _Attributes, text: str, resolve: Callable[[str], str | None]
) -> File | str | None:
    href, _, fragment = (attributes.get("href") or "").strip().partition("#")
    name = last_segment(href)
    if not name.endswith(DISTRIBUTION_SUFFIXES):
        name = text.strip()
        if not href or not name.endswith(DISTRIBUTION_SUFFIXES):
            return None
    try:
        filename = FileName(name)
    except InvalidName as error:
        return str(error)
    url = resolve(href)
    if url is None:
        return f"{filename[:80]} (address {href[:80]!r})"
    announced = attributes.get("data-core-metadata", "")
    if "data-core-metadata" not in attributes:
        announced = attributes.get("data-dist-info-metadata", "false")
    gpg_sig = attributes.get("data-gpg-sig")
    return File(
        filename=filename,
        url=url,
        hashes=_hash(fragment),
        size=_size(attributes.get("data-size")),
        upload_time=_time(attributes.get("data-upload-time")),
        requires_python=attributes.get("data-requires-python") or None,
        core_metadata=_announced(announced),
        yanked=(attributes["data-yanked"] or True) if "data-yanked" in attributes else False,
        gpg_sig=None if gpg_sig not in ("true", "false") else gpg_sig == "true",
        provenance=attributes.get("data-provenance") or None,
    )


def _hash(fragment: str) -> dict[str, str]:
    for part in fragment.split("&"):
        name, separator, value = part.partition("=")
        if separator and name.lower() in HASH_NAMES:
            return dict(clean_hashes({name: value}))
    return {}


def _announced(value: str | None) -> bool | dict[str, str]:
    # PEP 714: `true`, or a digest; anything else but "false" is taken as `true`, as pip does.
    if value == "false":
        return False
    return _hash(value or "") or True


def _size(value: str | None) -> int | None:
    if not value or not value.isascii() or not value.isdigit() or len(value) > MAX_SIZE_DIGITS:
        return None
    return int(value)


def _time(value: str | None) -> datetime | None:
    try:
        return clean_time(datetime.fromisoformat(value)) if value else None
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
    anchors = (f'<a href="{name}/">{name}</a><br />\n' for name in projects.names)
    return _document(_head("Simple index", ""), anchors, projects.serial)


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
    for step in in_steps(lines, _LINES_AT_ONCE):
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
