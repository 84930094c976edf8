"""What was derived from a snapshot lives as long as that, and no longer."""

import gc
from weakref import ref

from simple_repository_server.cache.snapshots import DerivedSnapshots
from simple_repository_server.model import ProjectPage
from simple_repository_server.names import ProjectName


def _page() -> ProjectPage:
    return ProjectPage(name=ProjectName("a"), files=())


def test_entries_go_with_their_originals_without_the_garbage_collector() -> None:
    """An entry is freed by its last reference: the command freezes what is there at its start."""
    memo: DerivedSnapshots[ProjectPage, str] = DerivedSnapshots()
    originals = [_page() for _ in range(100)]
    derived = [_page() for _ in originals]
    for one, other in zip(originals, derived, strict=True):
        memo.put(one, _page(), "before")
        memo.put(one, other, "now")
    watched = [ref(one) for one in derived]
    for one, other in zip(originals, derived, strict=True):
        found = memo.get(one)
        assert found is not None
        assert found.of(one) is other
        assert found.details == "now"
    del one, other, found, derived
    gc.disable()
    try:
        originals.clear()
        assert not any(one() for one in watched)
        page = _page()
        assert memo.get(page) is None
        memo.put(page, derived_page := _page(), "it")
        last = ref(derived_page)
        del memo, derived_page
        assert last() is None
    finally:
        gc.enable()


def test_what_is_unwanted_is_forgotten() -> None:
    """And nothing else."""
    memo: DerivedSnapshots[ProjectPage, None] = DerivedSnapshots()
    one, other = _page(), _page()
    memo.put(one, one, None)
    memo.put(other, other, None)
    memo.discard_if(lambda page: page is one)
    assert memo.get(one) is None
    assert memo.get(other) is not None
