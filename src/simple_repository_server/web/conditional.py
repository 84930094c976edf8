"""Why 304, 206 or 416? Conditional and range requests as pure functions (RFC 9110 §13, §14)."""

import re

from simple_repository_server.resource import ByteRange

_ETAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE = re.compile(r"[ \t]*bytes[ \t]*=(.*)", re.IGNORECASE)
_RANGE_SPEC = re.compile(r"[ \t]*([0-9]*)[ \t]*-[ \t]*([0-9]*)[ \t]*")
#: Longer numbers are behind the end of any file.
_MAX_DIGITS = 18


class Unsatisfiable:
    """A range that begins behind the end (416)."""


UNSATISFIABLE = Unsatisfiable()


def matches(if_none_match: str, etag: str) -> bool:
    """Whether the client already has it (RFC 9110 §13.1.2): weak comparison, a list, or `*`."""
    return if_none_match == etag or (
        if_none_match.strip() == "*" or etag in _ETAG.findall(if_none_match)
    )


def wanted_range(
    range_header: str, if_range: str, *, etag: str | None, size: int
) -> ByteRange | Unsatisfiable | None:
    """The part a request asks for; None for the whole.

    The whole it is, too, for what we need not understand (another unit, several ranges, bad
    syntax: RFC 9110 §14.2) and when `If-Range` names something else than the strong `etag`.
    A position has any number of digits: one behind the end is cut to it, or is Unsatisfiable.
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
        return None  # §14.1.1: invalid, so as if it was not there
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
    """A number of any length, in the order of numbers: Python reads no more than 4,300 digits."""
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
