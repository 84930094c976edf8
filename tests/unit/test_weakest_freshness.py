"""The freshness of what was combined from several snapshots."""

from simple_repository_server.freshness import Freshness, WeakestFreshness


def _part(verdict: str) -> Freshness:
    part = Freshness()
    part.verdict = verdict
    return part


def test_verdicts_of_the_parts_are_joined_once_each_in_order() -> None:
    """Distinct verdicts appear in the order of the parts; parts without one add nothing."""
    parts = [_part("stale-if-error"), _part("fresh"), _part(""), _part("fresh")]
    assert WeakestFreshness(parts).verdict == "stale-if-error, fresh"
    assert WeakestFreshness([_part("")]).verdict == ""
    assert WeakestFreshness([]).verdict == ""


def test_verdict_is_computed_when_it_is_read() -> None:
    """A part that was decided on again changes the verdict of the combination, nested or not."""
    part = _part("fresh")
    combined = WeakestFreshness([WeakestFreshness([part]), _part("fetched")])
    assert combined.verdict == "fresh, fetched"
    part.verdict = "revalidated"
    assert combined.verdict == "revalidated, fetched"
