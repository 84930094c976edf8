"""For how long a response is fresh, by its headers (RFC 9111 §4.2, RFC 5861). Pure functions."""

from collections.abc import Mapping

#: The lifetime of a page whose index states none.
DEFAULT_LIFETIME_S = 60.0
#: The longest lifetime of a page, regardless of what its index states; PyPI states exactly this.
MAX_LIFETIME_S = 600.0
#: The longest stale-while-revalidate time, regardless of what its index states.
_MAX_STALE_WHILE_REVALIDATE_S = 24 * 3600.0

#: The default for how old a page may get while its index fails (stale-if-error).
STALE_IF_ERROR_S = 7 * 24 * 3600.0


def directives(cache_control: str) -> Mapping[str, str]:
    """The directives of a `Cache-Control` header, lower case, with their values (or "")."""
    pairs = (part.strip().partition("=") for part in cache_control.split(","))
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs if name}


def lifetime_s(headers: Mapping[str, str], *, before: float | None = None) -> float:
    """For how many seconds from now a response with these headers is fresh (RFC 9111 §4.2.1).

    `before` is the lifetime of the stored response: a 304 without `Cache-Control` does not change
    it (§4.3.4). `no-store` counts as "revalidate each time", not as "do not store".
    """
    if before is not None and "Cache-Control" not in headers:
        return before
    stated = directives(headers.get("Cache-Control", ""))
    if "no-store" in stated or "no-cache" in stated:
        return 0.0
    age = stated.get("s-maxage", stated.get("max-age"))
    lifetime = DEFAULT_LIFETIME_S if age is None else _seconds(age)
    return max(0.0, min(lifetime - _seconds(headers.get("Age", "0")), MAX_LIFETIME_S))


def stale_while_revalidate_s(headers: Mapping[str, str], *, default: float = 0.0) -> float:
    """For how many seconds after that it may be served while it is revalidated (RFC 5861 §3).

    Where an index does not state it: `default`, but no longer than it declared its page fresh;
    and 0 for pages whose lifetime it does not state, or that it wants revalidated each time.
    """
    stated = directives(headers.get("Cache-Control", ""))
    if stated.keys() & {"no-store", "no-cache", "must-revalidate", "proxy-revalidate"}:
        return 0.0
    if "stale-while-revalidate" in stated:
        return min(_seconds(stated["stale-while-revalidate"]), _MAX_STALE_WHILE_REVALIDATE_S)
    return min(_seconds(stated.get("s-maxage", stated.get("max-age", "0"))), default)


def is_fresh(*, validated_at: float, lifetime: float, now: float) -> bool:
    """Whether a response validated at `validated_at` is still fresh at `now`.

    A validation in the future means that the clock was set back: not fresh.
    """
    return 0 <= now - validated_at < lifetime


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() else 0.0
