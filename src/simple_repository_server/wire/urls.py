"""Addresses on pages: resolved, never re-quoted.

An address on a page is opaque (a signature or `%2B` in it must arrive as written), so it is joined
to its base as text. What cannot stand in a request line is refused or, where a browser would
encode it too, encoded.
"""

import re
from collections.abc import Callable
from urllib.parse import quote, unquote, urljoin, urlsplit

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
# Characters that may not stand in a URL, but do in sloppy pages; `%` stays as it is.
_ILLEGAL = re.compile(r'[\x00-\x20\x7f"<>\\^`{|}]|[^\x00-\x7f]')
_ABSOLUTE = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/")
# The same with nothing illegal in it.
_USUAL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[!#-;=?-\[\]_a-z~]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def segment(text: str) -> str:
    """The text as one percent-encoded path segment (`+` becomes `%2B`)."""
    return text if _PLAIN_SEGMENT.fullmatch(text) else quote(text, safe="")


def last_segment(url: str) -> str:
    """The last path segment of an address, decoded: without query and fragment."""
    path = url.partition("#")[0].partition("?")[0]
    last = path.rpartition("/")[2]
    return unquote(last) if "%" in last else last


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an http(s) address: what credentials belong to.

    Raises `ValueError` for any other address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{parts.scheme or 'no scheme'}: not an http(s) address")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def without_credentials(url: str) -> str:
    """The address without `user:password@`, for people and logs."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def legal_reference(text: str) -> str | None:
    """The reference as it may stand in a request: illegal characters encoded, the rest as it is.

    None if there are control characters or lone surrogates in it.
    """
    if not _ILLEGAL.search(text):
        return text
    text = text.strip(" \t\r\n\f")
    return None if _CONTROL.search(text) else _ILLEGAL.sub(lambda found: quote(found[0]), text)


def resolver(base: str) -> Callable[[str], str | None]:
    """A function that resolves a reference against the address `base` (RFC 3986 §5).

    It answers None for what is no http(s) address in the end, and leaves out credentials. Common
    forms take a short way, as a page may have ten thousand; the rest goes through `urljoin`.
    """
    root = "/".join(base.split("/", 3)[:3])
    folders = base.partition("#")[0].partition("?")[0].split("/")[3:-1]
    ups = ["/".join([root, *folders[: len(folders) - n]]) + "/" for n in range(len(folders) + 1)]

    def resolve(reference: str) -> str | None:
        if _USUAL.fullmatch(reference):
            return reference
        legal = legal_reference(reference)
        if legal is None or _ABSOLUTE.match(legal):
            return legal
        return _relative(legal) or _checked(base, legal)

    def _relative(reference: str) -> str | None:
        path, level = reference, 0
        while path.startswith("../"):
            path, level = path[3:], level + 1
        if level == 0 and path.startswith("/") and not path.startswith("//"):
            path, level = path[1:], len(folders)
        if not 0 < level < len(ups) or path[:1] in ("", ".", "/", "?", "#") or "/." in path:
            return None
        return ups[level] + path

    return resolve


def _checked(base: str, reference: str) -> str | None:
    try:
        url = without_credentials(urljoin(base, reference))
        origin_of(url)
    except ValueError:
        return None
    return url
