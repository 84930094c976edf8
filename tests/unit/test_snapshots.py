"""What was made of a snapshot is remembered while the snapshot lives, and no longer."""

import gc
import weakref

import msgspec

from simple_repository_server.cache.snapshots import SnapshotMemo
from simple_repository_server.model import File, ProjectPage, ProjectStatus, Status
from simple_repository_server.names import FileName, ProjectName


def _page(name: str = "foo", **changes: object) -> ProjectPage:
    file = File(filename=FileName(f"{name}-1.tar.gz"), url="https://x.example/f", hashes={})
    page = ProjectPage(name=ProjectName(name), files=(file,))
    return msgspec.structs.replace(page, **changes)


def test_result_is_computed_once_and_freed_with_its_snapshot() -> None:
    """The function runs once per snapshot, whose end frees the result."""
    calls = []

    def function(page: ProjectPage) -> ProjectPage:
        calls.append(1)
        return msgspec.structs.replace(page, versions=("1",))

    remembered = SnapshotMemo(function)
    page = _page()
    assert remembered(page) is remembered(page)
    assert len(calls) == 1
    result = weakref.ref(remembered(page))
    del page
    gc.collect()
    assert result() is None


def test_peek_computes_nothing() -> None:
    """A peek returns what was computed, even the snapshot itself, and otherwise None."""
    calls = []

    def function(page: ProjectPage) -> ProjectPage:
        calls.append(page)
        return page if len(calls) > 1 else msgspec.structs.replace(page, versions=("1",))

    remembered = SnapshotMemo(function)
    changed, unchanged = _page(), _page()
    assert remembered.peek(changed) is None
    assert not calls
    assert remembered(changed) is remembered.peek(changed)
    assert remembered(unchanged) is unchanged
    assert remembered.peek(unchanged) is unchanged


def test_memo_does_not_keep_its_snapshot_alive() -> None:
    """A function that returns its snapshot does not keep it alive."""
    remembered: SnapshotMemo[ProjectPage] = SnapshotMemo(lambda page: page)
    page = _page()
    assert remembered(page) is page
    assert remembered(page) is page
    alive = weakref.ref(page)
    del page
    gc.collect()
    assert alive() is None


def test_copied_page_finds_only_its_own_files() -> None:
    """A copy with fewer files does not find files of the original."""
    page = _page()
    assert page.find("foo-1.tar.gz") is not None
    filtered = msgspec.structs.replace(page, files=())
    assert filtered.find("foo-1.tar.gz") is None
    assert page.find("foo-1.tar.gz") is not None


def test_quarantined_project_has_no_files() -> None:
    """The page of a quarantined project drops its files (PEP 792)."""
    quarantined = _page(status=ProjectStatus(Status.QUARANTINED))
    assert quarantined.files == ()
