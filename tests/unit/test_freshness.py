"""When is a page stale?"""

import pytest

from simple_repository_server.cache.freshness import DEFAULT_LIFETIME_S, is_fresh, lifetime_s
from simple_repository_server.model import Freshness, WeakestFreshness


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
def test_lifetime(headers: dict[str, str], lifetime: float) -> None:
    """What upstream says counts, less what has passed already, up to ten minutes."""
    assert lifetime_s(headers) == lifetime


def test_a_304_that_says_nothing_leaves_it_at_that() -> None:
    """Without `Cache-Control`, a confirmation keeps the lifetime that was."""
    assert lifetime_s({}, before=17) == 17
    assert lifetime_s({"Cache-Control": "max-age=5"}, before=17) == 5


@pytest.mark.parametrize(
    ("validated_at", "now", "fresh"),
    [(100, 100, True), (100, 109.9, True), (100, 110, False), (100, 99, False), (100, 1e9, False)],
)
def test_fresh(validated_at: float, now: float, fresh: object) -> None:
    """Fresh within its lifetime; not after it, and not if the clock was set back."""
    assert is_fresh(validated_at=validated_at, lifetime=10, now=now) is fresh


def test_what_clients_are_told() -> None:
    """Local content must be asked for each time; a mirror's says how old it is."""
    assert Freshness().at(1000) == (0, None, None)
    assert Freshness(validated_at=990, lifetime_s=600).at(1000) == (600, 10, None)


def test_several_sources_are_as_fresh_as_the_weakest() -> None:
    """Of several parts: the shortest lifetime, the highest age, all warnings."""
    stale = Freshness(validated_at=900, lifetime_s=60)
    stale.stale_reason = "it is down"
    both = WeakestFreshness([Freshness(validated_at=990, lifetime_s=600), stale])
    assert both.at(1000) == (60, 100, "it is down")
    assert WeakestFreshness([Freshness(), stale]).at(1000) == (0, 100, "it is down")


def test_a_clock_that_was_set_back_makes_no_client_trust_a_page() -> None:
    """Nobody knows for how long a page from the future is fresh: clients are to ask again."""
    ahead = Freshness(validated_at=1000, lifetime_s=600)
    assert ahead.at(999) == (0, 0, None)
    ahead.stale_reason = "it is down"
    assert ahead.at(999) == (0, 0, "it is down")
