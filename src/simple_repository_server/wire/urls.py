"""Addresses on pages: resolved, never re-quoted.

An address on a page is opaque (a signature or `%2B` in it must arrive as written), so it is joined
to its base as text. A character that may not be in a request line is encoded if browsers encode
it, too; else the address is rejected.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from urllib.parse import quote, unquote, urljoin

import msgspec

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
# Characters that are illegal in a URL, but occur on sloppy pages; `%` is not changed.
_ILLEGAL = re.compile(r'[\x00-\x20\x7f"<>\\^`{|}]|[^\x00-\x7f]')
#: The printable ones of them, and what begins a fragment.
_ILLEGAL_MARKS = ' "<>\\^`{|}#'
_ABSOLUTE = re.compile(r"https?://[A-Za-z0-9.-]+(?::[1-9][0-9]{0,3})?/")
# The same with nothing illegal in it.
_USUAL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[1-9][0-9]{0,3})?/[!#-;=?-\[\]_a-z~]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# The authority ends at the same place for every parser: no backslash or encoding in a host.
_HTTP = re.compile(
    r"(https?)://(?:([^/?#\\]*)@)?(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{0,5}))?([/?#].*)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_AUTHORITY = re.compile(r"([a-z][a-z0-9+.-]*://)[^/?#\\]*@", re.ASCII | re.IGNORECASE)
_MAX_PORT = 65_535
#: Of how many addresses the parts are remembered: one request needs them several times.
_REMEMBERED = 128


class HttpAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an http(s) address: the same ones are checked and connected to."""

    scheme: str
    #: In lower case, an IPv6 address without brackets.
    host: str
    port: int
    #: `user:password` as written, or None if there is no `@`.
    userinfo: str | None
    #: The address without them.
    bare: str
    #: Path, query and fragment.
    rest: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what credentials belong to."""
        return self.scheme, self.host, self.port


@lru_cache(maxsize=_REMEMBERED)
def parse_http(url: str) -> HttpAddress:
    """The parts of an http(s) address (RFC 3986 §3.2).

    Raises `ValueError` for any other text, and if parsers differ in what its host is.
    """
    found = _HTTP.fullmatch(url)
    if found is None:
        scheme = url.partition(":")[0].lower()
        if scheme not in ("http", "https"):
            raise ValueError("not an http(s) address")
        raise ValueError("its host or port is not valid")
    scheme, userinfo, host, port, rest = found.groups()
    number = int(port) if port else 443 if scheme.lower() == "https" else 80
    if not 0 < number <= _MAX_PORT:
        raise ValueError("its port is not valid")
    bare = url if userinfo is None else url[: found.start(2)] + url[found.end(2) + 1 :]
    return HttpAddress(
        scheme=scheme.lower(),
        host=host.lower().strip("[]"),
        port=number,
        userinfo=userinfo,
        bare=bare,
        rest=rest or "",
    )


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
    return parse_http(url).origin


def without_credentials(url: str) -> str:
    """The address without `user:password@`, for people and logs."""
    return _AUTHORITY.sub(r"\1", url, count=1)


def legal_reference(text: str) -> str | None:
    """The reference with illegal characters encoded and the rest unchanged.

    None if it contains control characters or lone surrogates.
    """
    if not _ILLEGAL.search(text):
        return text
    text = text.strip(" \t\r\n\f")
    return None if _CONTROL.search(text) else _ILLEGAL.sub(lambda found: quote(found[0]), text)


def resolver(base: str) -> Callable[[str], str | None]:
    """A function that resolves a reference against the address `base` (RFC 3986 §5).

    It returns None if the result is no http(s) address, and drops credentials. Common forms take a
    fast path, as a page may have ten thousand; others go through `urljoin`.
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
        return joined(base, reference).bare
    except ValueError:
        return None


def are_usual_together(references: Sequence[str]) -> bool:
    """Whether all are absolute addresses at one host which `resolver` would return unchanged.

    True only if that is certain at a glance; none of them has a fragment then.
    """
    root = _ABSOLUTE.match(references[0]) if references else None
    if root is None:
        return False
    text = "".join(references)
    return (
        text.isascii()
        and text.isprintable()
        and not any(mark in text for mark in _ILLEGAL_MARKS)  # quicker than the pattern
        and ("\n" + "\n".join(references)).count("\n" + root[0]) == len(references)
    )


def joined(base: str, reference: str) -> HttpAddress:
    """The http(s) address of a reference at `base` (RFC 3986 §5).

    Raises `ValueError` if it is none, or has another host for browsers than for us.
    """
    legal = legal_reference(reference)
    if legal is None:
        raise ValueError("it contains control characters")
    address = parse_http(urljoin(base, legal))
    if address.userinfo is not None and "%5c" in address.userinfo.lower():
        raise ValueError("it has a backslash before its host")
    return address
