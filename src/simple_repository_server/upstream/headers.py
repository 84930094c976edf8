"""Headers of an answer, cleaned at the one place where they enter.

The HTTP library hands on any bytes (as lone surrogates, which cannot be encoded again). Behind this
every value is printable ASCII, and what cannot be put so without changing its meaning is missing.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

import msgspec
from multidict import CIMultiDict

_NO_TEXT = re.compile(r"[^\t\x20-\x7e]")
#: They mean what they mean byte by byte, or nothing.
_OPAQUE = frozenset(("etag", "last-modified"))
#: May be on several lines, which are one list (RFC 9110 §5.3). Of others the first line counts.
_LISTS = frozenset(("cache-control", "content-encoding"))
# Longer numbers are the size of no file.
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]*"')


class ContentRange(msgspec.Struct, frozen=True):
    """The bytes from `start` up to, not including, `stop`, of `total` if that was said."""

    start: int
    stop: int
    total: int | None


def clean_headers(raw: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """The headers of an answer by their names, whose case does not count."""
    headers: CIMultiDict[str] = CIMultiDict()
    for raw_name, raw_value in raw:
        name = raw_name.decode("latin-1").lower()
        value = _cleaned(name, raw_value.strip(b" \t"))
        if value is None:
            continue
        if name not in headers:
            headers[name] = value
        elif name in _LISTS:
            headers[name] = f"{headers[name]}, {value}"
    return headers


def _cleaned(name: str, raw: bytes) -> str | None:
    if name == "location":
        # As browsers do: what is no ASCII is percent-encoded, the rest stays as it is.
        return "".join(chr(byte) if byte < 0x80 else quote(bytes([byte])) for byte in raw)  # noqa: PLR2004
    text = raw.decode("latin-1")
    if not _NO_TEXT.search(text):
        return text
    return None if name in _OPAQUE else _NO_TEXT.sub("?", text)


def length_in(headers: Mapping[str, str]) -> int | None:
    """The `Content-Length`; None if there is none that can be understood."""
    text = headers.get("Content-Length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


def content_range_in(headers: Mapping[str, str]) -> ContentRange | None:
    """The `Content-Range` of a part; None if there is none that makes sense."""
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
    """A validator for `If-Range`: a strong entity tag, or a date where there is none at all.

    Beside a weak tag the date may not be used: it is no stronger (RFC 9110 §13.1.5).
    """
    return strong_tag_in(headers) if "ETag" in headers else headers.get("Last-Modified")
