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


def test_computed_once_and_forgotten() -> None:
    """The function runs once per snapshot; with the snapshot its result goes."""
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


def test_peeking_computes_nothing() -> None:
    """A peek has what was computed, be it the snapshot itself, and else does nothing."""
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


def test_the_snapshot_itself_is_not_kept_alive() -> None:
    """A function that changes nothing does not make its snapshot immortal."""
    remembered: SnapshotMemo[ProjectPage] = SnapshotMemo(lambda page: page)
    page = _page()
    assert remembered(page) is page
    assert remembered(page) is page
    alive = weakref.ref(page)
    del page
    gc.collect()
    assert alive() is None


def test_a_copy_with_other_files_finds_only_those() -> None:
    """A page that was copied with fewer files has no file of the original left in it."""
    page = _page()
    assert page.find("foo-1.tar.gz") is not None
    filtered = msgspec.structs.replace(page, files=())
    assert filtered.find("foo-1.tar.gz") is None
    assert page.find("foo-1.tar.gz") is not None


def test_a_quarantined_project_has_no_files() -> None:
    """Whatever it is made with, a quarantined page offers nothing (PEP 792)."""
    quarantined = _page(status=ProjectStatus(Status.QUARANTINED))
    assert quarantined.files == ()
