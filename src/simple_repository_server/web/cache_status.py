"""What a cache did for an answer, as the header `Cache-Status` states it (RFC 9211)."""

import re

_NAME = b"simple-repository-server"
#: By verdict (`cache/policy.py` for pages and lists, `hit` and `miss` for files): whether the
#: answer came from the cache, or why it was requested from its origin.
_PARAMETERS = {
    "fresh": b"; hit",
    "hit": b"; hit",
    "stale-while-revalidate": b"; hit",
    "stale-if-error": b"; hit",
    "offline": b"; hit",
    "revalidated": b"; fwd=stale; fwd-status=304",
    "fetched": b"; fwd=miss; fwd-status=200; stored",
    "miss": b"; fwd=uri-miss",
}
#: A token (RFC 8941 §3.3.4); other texts are quoted.
_TOKEN = re.compile(rb"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")
#: What a quoted string cannot have in it (RFC 8941 §3.3.3).
_UNQUOTABLE = re.compile(rb"[^\x20-\x7e]")


def cache_status(
    verdict: str, *, max_age: int | None = None, age: int | None = None
) -> tuple[bytes, bytes] | None:
    """The header for a verdict of a cache; None where no cache was used.

    A list combined of several indexes has several verdicts, as in `fresh, stale-if-error`: the
    header states what all of them have in common. The time to live is what is left of `max_age` at
    that `age`, in seconds: negative for a stale entry. It is left out where the age is unknown.
    """
    if not verdict:
        return None
    parameters = {_PARAMETERS.get(word, b"") for word in verdict.split(", ")}
    value = _NAME + (parameters.pop() if len(parameters) == 1 else b"")
    if max_age is not None and age is not None:
        value += b"; ttl=%d" % (max_age - age)
    return b"cache-status", value + b"; detail=" + _item(verdict)


def _item(text: str) -> bytes:
    """The text as a token, or as a quoted string if it is none."""
    encoded = text.encode("ascii", "replace")
    if _TOKEN.fullmatch(encoded):
        return encoded
    escaped = _UNQUOTABLE.sub(b"?", encoded).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"' + escaped + b'"'
