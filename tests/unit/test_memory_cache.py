"""What is kept in memory stays within its budget."""

from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.cache.memory import MemoryCache, MemoryPart


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60))))
def test_the_budget_holds(puts: list[tuple[int, int]]) -> None:
    """Whatever is put in, the weights add up and never exceed the budget."""
    cache: MemoryCache[int, int] = MemoryCache(100)
    weights: dict[int, int] = {}
    for key, weight in puts:
        cache.put(key, weight, weight)
        weights[key] = weight
        kept = [key for key in weights if cache.get(key) is not None]
        assert cache.bytes == sum(weights[key] for key in kept) <= 100


def test_the_least_recently_used_goes_first() -> None:
    """What was asked for last is kept longest."""
    cache: MemoryCache[str, int] = MemoryCache(3)
    for key in "abc":
        cache.put(key, 1, 1)
    cache.get("a")
    cache.put("d", 1, 1)
    assert cache.get("b") is None
    assert cache.get("a") == 1


def test_a_value_beyond_the_budget_is_not_kept() -> None:
    """One huge value does not push everything else out."""
    cache: MemoryCache[str, int] = MemoryCache(3)
    cache.put("a", 1, 1)
    cache.put("huge", 1, 4)
    assert cache.get("huge") is None
    assert cache.get("a") == 1
    cache.discard("a")
    cache.discard("a")
    assert (len(cache), cache.bytes) == (0, 0)


def test_parts_compete_for_one_budget() -> None:
    """Two mappings with the same keys hold their own values, and together no more than allowed."""
    whole: MemoryCache[object, int] = MemoryCache(3)
    one: MemoryPart[str, int] = MemoryPart(whole)
    other: MemoryPart[str, int] = MemoryPart(whole)
    one.put("a", 1, 1)
    other.put("a", 2, 1)
    assert (one.get("a"), other.get("a")) == (1, 2)
    other.put("b", 3, 2)
    assert (one.get("a"), other.get("a"), other.get("b")) == (None, 2, 3)
    other.discard("a")
    assert (other.get("a"), whole.bytes) == (None, 2)
