"""Headers of an answer, cleaned where they enter.

An upstream may send any bytes. After this every value is printable ASCII; a value that would change
its meaning is left out.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

import msgspec
from multidict import CIMultiDict

_UNPRINTABLE = re.compile(r"[^\t\x20-\x7e]")
#: Compared byte by byte: a changed one would be another one.
_OPAQUE = frozenset(("etag", "last-modified"))
#: Several lines of these are one list (RFC 9110 §5.3). Of other headers the first line counts.
_LISTS = frozenset(("cache-control", "content-encoding"))
# No file has a size with more digits.
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]*"')


class ContentRange(msgspec.Struct, frozen=True):
    """The bytes from `start` up to, not including, `stop`, of `total` (None: not stated)."""

    start: int
    stop: int
    total: int | None


def clean_headers(raw: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """The headers of an answer by their names, whose case does not count."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name = raw_name.decode("latin-1").lower()
        value = raw_value.strip(b" \t").decode("latin-1")
        if name == "location" or not _is_plain(value):
            cleaned = _cleaned(name, value)
            if cleaned is None:
                continue
            value = cleaned
        if name not in headers:
            headers[name] = value
        elif name in _LISTS:
            headers[name] = f"{headers[name]}, {value}"
    return CIMultiDict(headers)


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _cleaned(name: str, value: str) -> str | None:
    if name == "location":
        # As browsers do: characters outside ASCII are percent-encoded, the rest is unchanged.
        return "".join(char if char.isascii() else quote(char.encode("latin-1")) for char in value)
    if not _UNPRINTABLE.search(value):
        return value
    return None if name in _OPAQUE else _UNPRINTABLE.sub("?", value)


def length_in(headers: Mapping[str, str]) -> int | None:
    """The `Content-Length`; None if it is absent or no number."""
    text = headers.get("Content-Length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


def content_range_in(headers: Mapping[str, str]) -> ContentRange | None:
    """The `Content-Range` of a part; None if it is absent or invalid."""
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if found is None:
        return None
    start, stop = int(found[1]), int(found[2]) + 1
    total = None if found[3] == "*" else int(found[3])
    return ContentRange(start, stop, total) if start < stop <= (total or stop) else None


def strong_tag_in(headers: Mapping[str, str]) -> str | None:
    """The entity tag with its quotes, if it is a strong one (RFC 9110 §8.8.3)."""
    tag = headers.get("ETag", "")
    return tag if _STRONG_TAG.fullmatch(tag) else None


def version_in(headers: Mapping[str, str]) -> str | None:
    """A validator for `If-Range`: a strong entity tag, or the date of an answer without any tag.

    Beside a weak tag the date must not be used: it is no stronger (RFC 9110 §13.1.5).
    """
    return strong_tag_in(headers) if "ETag" in headers else headers.get("Last-Modified")
