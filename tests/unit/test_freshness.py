"""For how long is a response fresh, by its headers?"""

import pytest

from simple_repository_server.cache.freshness import (
    DEFAULT_LIFETIME_S,
    directives,
    is_fresh,
    lifetime_s,
    stale_while_revalidate_s,
)
from simple_repository_server.freshness import Freshness, WeakestFreshness


@pytest.mark.parametrize(
    ("headers", "lifetime"),
    [
        ({}, DEFAULT_LIFETIME_S),
        ({"Cache-Control": "max-age=600, public"}, 600),
        ({"Cache-Control": "Max-Age=30"}, 30),
        ({"Cache-Control": 'max-age="30"'}, 30),
        ({"Cache-Control": "max-age=600", "Age": "200"}, 400),
        ({"Cache-Control": "max-age=600", "Age": "700"}, 0),
        ({"Cache-Control": "max-age=86400"}, 600),
        ({"Cache-Control": "max-age=600, s-maxage=5"}, 5),
        ({"Cache-Control": "no-cache, max-age=600"}, 0),
        ({"Cache-Control": "no-store"}, 0),
        ({"Cache-Control": "max-age=nonsense"}, 0),
        ({"Cache-Control": "max-age=-1"}, 0),
        ({"Cache-Control": ",,=,"}, DEFAULT_LIFETIME_S),
        ({"Age": "nonsense"}, DEFAULT_LIFETIME_S),
    ],
)
def test_lifetime_from_headers(headers: dict[str, str], lifetime: float) -> None:
    """The stated lifetime counts, less `Age`, for at most ten minutes (RFC 9111 §4.2.1)."""
    assert lifetime_s(headers) == lifetime


@pytest.mark.parametrize(
    ("cache_control", "default", "expected"),
    [
        # As long as the index states, for at most a day.
        ("max-age=600, stale-while-revalidate=30", 0, 30),
        ("max-age=600, Stale-While-Revalidate=30", 900, 30),
        ("stale-while-revalidate=86400", 0, 86_400),
        ("stale-while-revalidate=86401", 0, 86_400),
        ("stale-while-revalidate=nonsense", 900, 0),
        # Not stated: the default, but no longer than the page was declared fresh.
        ("max-age=600", 0, 0),
        ("max-age=600", 60, 60),
        ("max-age=600", 900, 600),
        ("max-age=600, s-maxage=5", 900, 5),
        ("s-maxage=5", 900, 5),
        ("public", 900, 0),
        ("", 900, 0),
        # Each of these requires revalidation.
        ("no-store, stale-while-revalidate=30", 900, 0),
        ("no-cache, max-age=600", 900, 0),
        ("must-revalidate, max-age=600", 900, 0),
        ("proxy-revalidate, max-age=600", 900, 0),
    ],
)
def test_stale_while_revalidate_from_headers(
    cache_control: str, default: float, expected: float
) -> None:
    """The time stated by the index, else the operator's default within limits (RFC 5861 §3)."""
    headers = {"Cache-Control": cache_control}
    assert stale_while_revalidate_s(headers, default=default) == expected


def test_stale_while_revalidate_without_headers_is_zero() -> None:
    """An index that states no lifetime has not allowed stale service, nor has the default."""
    assert stale_while_revalidate_s({}, default=900) == 0
    assert stale_while_revalidate_s({"Cache-Control": "max-age=600"}) == 0


def test_directives_are_parsed_with_and_without_values() -> None:
    """Names are lower case; quotes are removed, and letters of a value are not (RFC 9111 §5.2)."""
    parsed = directives('Public, Max-Age = "30", x="XY"')
    assert parsed == {"public": "", "max-age": "30", "x": "XY"}


def test_304_without_cache_control_retains_the_lifetime() -> None:
    """RFC 9111 §4.3.4: only headers that a 304 has replace those of the stored response."""
    assert lifetime_s({}, before=17) == 17
    assert lifetime_s({"Cache-Control": "max-age=5"}, before=17) == 5


@pytest.mark.parametrize(
    ("validated_at", "now", "fresh"),
    [(100, 100, True), (100, 109.9, True), (100, 110, False), (100, 99, False), (100, 1e9, False)],
)
def test_response_is_fresh_within_its_lifetime(
    validated_at: float, now: float, fresh: object
) -> None:
    """Not after it, and not if the clock was set back."""
    assert is_fresh(validated_at=validated_at, lifetime=10, now=now) is fresh


def test_age_and_max_age_of_local_and_remote_content() -> None:
    """Local content must be revalidated each time; a mirror's has an age."""
    assert Freshness().at(1000) == (0, None, None)
    assert Freshness(validated_at=990, lifetime_s=600).at(1000) == (600, 10, None)


def test_combined_freshness_is_the_weakest() -> None:
    """Of several parts: the shortest lifetime, the highest age, all warnings."""
    stale = Freshness(validated_at=900, lifetime_s=60)
    stale.stale_reason = "it is down"
    both = WeakestFreshness([Freshness(validated_at=990, lifetime_s=600), stale])
    assert both.at(1000) == (60, 100, "it is down")
    assert WeakestFreshness([Freshness(), stale]).at(1000) == (0, 100, "it is down")


def test_page_from_the_future_has_to_be_revalidated_by_clients() -> None:
    """After a clock was set back its age is unknown, so its `max-age` is 0."""
    ahead = Freshness(validated_at=1000, lifetime_s=600)
    assert ahead.at(999) == (0, 0, None)
    ahead.stale_reason = "it is down"
    assert ahead.at(999) == (0, 0, "it is down")
