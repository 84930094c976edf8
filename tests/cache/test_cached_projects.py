"""Notes of which projects have files: bounded by what is there, and by the budget."""

import fcntl
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.ownership import claim

DIGESTS = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(2_000)]


@pytest.fixture
def disk(tmp_path: Path) -> CacheFolder:
    """An empty cache of 1 MB."""
    disk = CacheFolder(tmp_path / "cache", max_bytes=1_000_000)
    claim(disk.folder)
    return disk


def test_eviction_forgets_notes_of_files_that_are_gone(disk: CacheFolder) -> None:
    """A line without its file goes, a file without lines, too; what is there stays noted."""
    notes = disk.cached_projects
    path = disk.files.path(DIGESTS[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    for digest in DIGESTS[:10]:
        notes.add("some", digest)
        notes.add(f"gone-{digest[:5]}", DIGESTS[11])
    disk.evict()
    assert notes.names() == ["some"]
    assert notes.digests_of("some") == {DIGESTS[0]}


def test_notes_have_a_part_of_the_budget(disk: CacheFolder) -> None:
    """Any number of projects that claim one file take no more than a twentieth."""
    notes = disk.cached_projects
    path = disk.files.path(DIGESTS[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    for number in range(100):
        notes.add(f"p{number}", DIGESTS[0])
        os.utime(disk.cached_projects.folder / f"p{number}", (1000 + 100 * number,) * 2)
    disk.evict()
    assert 0 < len(notes.names()) <= 12
    assert "p99" in notes.names()


def test_what_is_added_meanwhile_is_not_lost(disk: CacheFolder) -> None:
    """Noted by one while another takes lines out, it is there in the end."""
    notes = disk.cached_projects
    stop = threading.Event()

    def correct() -> None:
        while not stop.is_set():
            try:
                notes.retain("foo", lambda digest: digest in wanted)
            except FileNotFoundError:
                time.sleep(0.001)

    wanted = set(DIGESTS[::2])
    thread = threading.Thread(target=correct)
    thread.start()
    try:
        for digest in DIGESTS[:400]:
            notes.add("foo", digest)
    finally:
        stop.set()
        thread.join()
    assert notes.digests_of("foo") >= set(DIGESTS[:400:2])


@pytest.mark.anyio
async def test_a_note_that_another_process_holds_is_no_fault_of_the_disk(disk: CacheFolder) -> None:
    """Where one hangs while it has a project's note locked, the cache goes on for all others."""
    notes = disk.cached_projects
    notes.add("held", DIGESTS[0])
    with (disk.cached_projects.folder / "held").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not await disk.write(notes.add, "held", DIGESTS[1])
    assert disk.usable
    assert await disk.write(notes.add, "other", DIGESTS[1])
