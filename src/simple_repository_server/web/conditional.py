"""Why 304, 206 or 416? Conditional and range requests as pure functions (RFC 9110 §13, §14).

Entity tags are strong: the same bytes have the same tag in every process. Those of pages are made
here, those of files by `Resource.etag`.
"""

import re

from simple_repository_server.resource import ByteRange, Resource

_ETAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE = re.compile(r"[ \t]*bytes[ \t]*=(.*)", re.IGNORECASE)
_RANGE_SPEC = re.compile(r"[ \t]*([0-9]*)[ \t]*-[ \t]*([0-9]*)[ \t]*")
#: How much of a digest is in the tag of a page.
_TAG_DIGITS = 32
#: Longer numbers are beyond the end of any file.
_MAX_DIGITS = 18


class Unsatisfiable:
    """A range that begins beyond the end (416)."""


UNSATISFIABLE = Unsatisfiable()


def page_etag(digest: str, form: str) -> str:
    """The tag of a page or list in one form: of the digest of its uncompressed body."""
    return f'"{digest[:_TAG_DIGITS]}-{form}"'


def compressed_etag(etag: str, coding: str) -> str:
    """The tag of the same body compressed: other bytes, so another tag."""
    return f'{etag[:-1]}-{coding}"'


def file_etag(resource: Resource) -> str | None:
    """The tag of a file: its digest, or else the strong validator of its origin, if it has one."""
    return resource.etag


def matches(if_none_match: str, etag: str) -> bool:
    """Whether the client has these bytes (RFC 9110 §13.1.2): weak comparison, a list, or `*`."""
    return if_none_match == etag or (
        if_none_match.strip() == "*" or etag in _ETAG.findall(if_none_match)
    )


def wanted_range(
    range_header: str, if_range: str, *, etag: str | None, size: int
) -> ByteRange | Unsatisfiable | None:
    """The requested part; None for the whole.

    The whole is also the answer to what a server need not understand (another unit, several
    ranges, bad syntax: RFC 9110 §14.2), and when `If-Range` is not the strong `etag`. Positions may
    have any number of digits: a last one beyond the end is cut to it, a first one is
    `UNSATISFIABLE`.
    """
    if not range_header or (if_range and if_range.strip() != etag):
        return None
    bounds = _bounds(range_header)
    if bounds is None:
        return None
    first, last = bounds
    if first is None:
        return _suffix(last, size)
    if last is not None and last < first:
        return None  # §14.1.1: invalid, so it is ignored
    start = _position(first)
    if start >= size:
        return UNSATISFIABLE
    return ByteRange(start, size if last is None else min(_position(last) + 1, size))


_Digits = tuple[int, str]


def _bounds(range_header: str) -> tuple[_Digits | None, _Digits | None] | None:
    """The two positions of a header with one range of bytes, of which one may be missing.

    A list may have empty elements (RFC 9110 §5.6.1.2).
    """
    found = _RANGE.fullmatch(range_header)
    specs = [spec for spec in found[1].split(",") if spec.strip(" \t")] if found else []
    spec = _RANGE_SPEC.fullmatch(specs[0]) if len(specs) == 1 else None
    if spec is None or not (spec[1] or spec[2]):
        return None
    return _digits(spec[1]), _digits(spec[2])


def _digits(text: str) -> _Digits | None:
    """A number of any length, which sorts as numbers do: `int` reads no more than 4,300 digits."""
    significant = text.lstrip("0") or text[:1]
    return (len(significant), significant) if text else None


def _position(digits: _Digits) -> int:
    length, text = digits
    return int(text) if length <= _MAX_DIGITS else 10**_MAX_DIGITS


def _suffix(digits: _Digits | None, size: int) -> ByteRange | Unsatisfiable | None:
    """The last bytes; the whole of an empty file, which a 206 cannot express."""
    length = _position(digits) if digits else 0
    if length == 0:
        return UNSATISFIABLE
    return ByteRange(max(0, size - length), size) if size else None
