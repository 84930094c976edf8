"""The freshness of pages that the clock changes."""

from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.freshness import Freshness, LimitedFreshness

NOW = 1_700_000_000.0


def _fetched(*, age_s: float, lifetime_s: float = 600) -> Freshness:
    return Freshness(validated_at=NOW - age_s, lifetime_s=lifetime_s)


def test_max_age_ends_with_the_limit() -> None:
    """A page that changes in 90.7 s may be used for 90 s from the answer, whatever its age."""
    info = LimitedFreshness(_fetched(age_s=100), NOW + 90.7).at(NOW)
    assert (info.max_age, info.age, info.warning) == (90, 0, None)


def test_a_page_that_ends_sooner_than_the_limit_says_what_its_source_says() -> None:
    """A limit far ahead changes nothing."""
    basis = _fetched(age_s=100)
    assert LimitedFreshness(basis, NOW + 601).at(NOW) == basis.at(NOW)


def test_what_remains_of_the_lifetime_is_not_prolonged() -> None:
    """The remaining lifetime counts where it ends before the limit does."""
    info = LimitedFreshness(_fetched(age_s=550), NOW + 300).at(NOW)
    assert (info.max_age, info.age) == (50, 0)


def test_a_stale_page_stays_stale() -> None:
    """Age and warning of a stale page are those of its source; its lifetime is limited."""
    basis = _fetched(age_s=700)
    basis.stale_reason = "it is down"
    info = LimitedFreshness(basis, NOW + 30).at(NOW)
    assert (info.max_age, info.age, info.warning) == (30, 700, "it is down")


def test_a_page_without_a_lifetime_gets_none() -> None:
    """Where clients must revalidate each time, a limit does not let them keep the page."""
    assert LimitedFreshness(Freshness(), NOW + 30).at(NOW) == Freshness().at(NOW)


def test_the_earliest_of_nested_limits_counts() -> None:
    """Rules of a source and of an index limit the same page."""
    inner = LimitedFreshness(_fetched(age_s=0), NOW + 50)
    for until, expected in ((NOW + 20, 20), (NOW + 90, 50)):
        outer = LimitedFreshness(inner, until)
        assert (outer.at(NOW).max_age, outer.limit) == (expected, NOW + expected)


def test_it_is_updated_through_its_basis() -> None:
    """A page that was revalidated, or decided on, is so with and without a limit."""
    basis = _fetched(age_s=100)
    limited = LimitedFreshness(basis, NOW + 5000)
    limited.verdict, limited.stale_reason = "fresh", "it is down"
    basis.validated_at = NOW
    assert (basis.verdict, basis.stale_reason) == ("fresh", "it is down")
    assert limited.at(NOW).age == 0


_times = st.floats(0, 2000)


@given(_times, _times, st.floats(-10, 2000), st.floats(0, 3))
def test_between_the_steady_times_it_states_the_same(
    age_s: float, lifetime_s: float, left_s: float, later_s: float
) -> None:
    """Headers that are used again are those that would be made now."""
    limited = LimitedFreshness(_fetched(age_s=age_s, lifetime_s=lifetime_s), NOW + left_s)
    since, until = limited.steady(NOW)
    for moment in (NOW + later_s, NOW - later_s):
        # At its very ends a time that is rounded may be on either side.
        if since + 1e-6 < moment < until - 1e-6:
            assert limited.at(moment) == limited.at(NOW)


@given(_times, _times, st.floats(0, 2000))
def test_it_never_outlives_the_limit(age_s: float, lifetime_s: float, left_s: float) -> None:
    """What a client may still use is at most what is left, and `max-age` states no more."""
    info = LimitedFreshness(_fetched(age_s=age_s, lifetime_s=lifetime_s), NOW + left_s).at(NOW)
    assert info.max_age <= left_s + 1e-6
    assert info.max_age - (info.age or 0) <= left_s + 1e-6
