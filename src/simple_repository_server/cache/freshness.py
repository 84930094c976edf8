"""When is a page stale? Pure rules (RFC 9111), with the time as an argument."""

from collections.abc import Mapping

#: How long a page is taken as fresh when its index says nothing about it.
DEFAULT_LIFETIME_S = 60.0
#: The longest time a page is taken as fresh, whatever its index says; PyPI says just this.
MAX_LIFETIME_S = 600.0

_MAX_GRACE_S = 24 * 3600.0

#: How old a page may get while its index cannot be asked, if nobody says otherwise.
STALE_IF_ERROR_S = 7 * 24 * 3600.0


def directives(cache_control: str) -> Mapping[str, str]:
    """The directives of a `Cache-Control` header, lower case, with their values (or "")."""
    pairs = (part.strip().partition("=") for part in cache_control.split(","))
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs if name}


def lifetime_s(headers: Mapping[str, str], *, before: float | None = None) -> float:
    """For how many seconds from now a page that came with these headers is fresh (RFC 9111 §4.2).

    `before` is what was said with the page when it came first: a 304 that says nothing about
    caching leaves it at that (§4.3.4).

    It is about freshness only: a page with `no-store` is kept too, to be confirmed each time.
    """
    if before is not None and "Cache-Control" not in headers:
        return before
    said = directives(headers.get("Cache-Control", ""))
    if "no-store" in said or "no-cache" in said:
        return 0.0
    age = said.get("s-maxage", said.get("max-age"))
    lifetime = DEFAULT_LIFETIME_S if age is None else _seconds(age)
    return max(0.0, min(lifetime - _seconds(headers.get("Age", "0")), MAX_LIFETIME_S))


def stale_while_revalidate_s(headers: Mapping[str, str], *, most: float = 0.0) -> float:
    """For how many seconds after that it may still be served while it is confirmed (RFC 5861 §3).

    Where an index does not say, that is up to `most`, but no longer than it said its page was
    fresh; nothing for pages of which it said nothing, or that it wants confirmed each time.
    """
    said = directives(headers.get("Cache-Control", ""))
    if said.keys() & {"no-store", "no-cache", "must-revalidate", "proxy-revalidate"}:
        return 0.0
    if "stale-while-revalidate" in said:
        return min(_seconds(said["stale-while-revalidate"]), _MAX_GRACE_S)
    return min(_seconds(said.get("s-maxage", said.get("max-age", "0"))), most)


def is_fresh(*, validated_at: float, lifetime: float, now: float) -> bool:
    """Whether something validated then is still fresh now.

    A validation in the future means that the clock was set back: not fresh.
    """
    return 0 <= now - validated_at < lifetime


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() else 0.0
