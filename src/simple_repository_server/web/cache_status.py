"""What a cache did for an answer, as the header `Cache-Status` states it (RFC 9211)."""

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


def cache_status(
    verdict: str, *, max_age: int | None = None, age: int | None = None
) -> tuple[bytes, bytes] | None:
    """The header for a verdict of a cache; None where no cache was used.

    The time to live is what is left of `max_age` at that `age`, in seconds: negative for a stale
    entry. It is left out where the age is unknown.
    """
    if not verdict:
        return None
    value = _NAME + _PARAMETERS.get(verdict, b"")
    if max_age is not None and age is not None:
        value += b"; ttl=%d" % (max_age - age)
    return b"cache-status", value + b"; detail=" + verdict.encode("ascii", "replace")
