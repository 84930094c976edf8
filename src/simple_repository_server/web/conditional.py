"""Why 304, 206 or 416? Conditional and range requests as pure functions (RFC 9110 §13, §14)."""

import re

from simple_repository_server.resource import ByteRange

_ETAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII | re.IGNORECASE)
#: Longer numbers are no position in any file.
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
    """
    if not range_header or (if_range and if_range.strip() != etag):
        return None
    found = _RANGE.fullmatch(range_header)
    if found is None or max(map(len, found.groups())) > _MAX_DIGITS:
        return None
    first, last = found.groups()
    if first:
        start = int(first)
        stop = min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None  # §14.1.1: invalid, so as if it was not there
        return ByteRange(start, stop) if start < size else UNSATISFIABLE
    if not last:
        return None
    length = min(int(last), size)
    return ByteRange(size - length, size) if length else UNSATISFIABLE
