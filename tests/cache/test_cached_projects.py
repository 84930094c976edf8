"""Records of which projects have files: bounded by the files, and by the budget."""

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


def test_eviction_removes_digests_without_a_file(disk: CacheFolder) -> None:
    """A digest without its file goes, and a record without digests; the others stay."""
    records = disk.cached_projects
    path = disk.files.path(DIGESTS[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    for digest in DIGESTS[:10]:
        records.add("some", digest)
        records.add(f"gone-{digest[:5]}", DIGESTS[11])
    disk.evict()
    assert records.names() == ["some"]
    assert records.digests_of("some") == {DIGESTS[0]}


def test_records_have_a_part_of_the_budget(disk: CacheFolder) -> None:
    """Any number of projects that claim one file take no more than a twentieth."""
    records = disk.cached_projects
    path = disk.files.path(DIGESTS[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    for number in range(100):
        records.add(f"p{number}", DIGESTS[0])
        os.utime(disk.cached_projects.folder / f"p{number}", (1000 + 100 * number,) * 2)
    disk.evict()
    assert 0 < len(records.names()) <= 12
    assert "p99" in records.names()


def test_a_digest_added_during_a_correction_is_not_lost(disk: CacheFolder) -> None:
    """Added by one while another removes digests, it is there in the end."""
    records = disk.cached_projects
    stop = threading.Event()

    def correct() -> None:
        while not stop.is_set():
            try:
                records.retain("foo", lambda digest: digest in wanted)
            except FileNotFoundError:
                pass
            time.sleep(0.001)  # an addition waits for the lock a limited number of times

    wanted = set(DIGESTS[::2])
    thread = threading.Thread(target=correct)
    thread.start()
    try:
        for digest in DIGESTS[:400]:
            records.add("foo", digest)
    finally:
        stop.set()
        thread.join()
    assert records.digests_of("foo") >= set(DIGESTS[:400:2])


@pytest.mark.anyio
async def test_a_record_locked_by_another_process_is_no_disk_failure(disk: CacheFolder) -> None:
    """Where one hangs while it has a record locked, the cache is used for all others."""
    records = disk.cached_projects
    records.add("held", DIGESTS[0])
    with (disk.cached_projects.folder / "held").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not await disk.write(records.add, "held", DIGESTS[1])
    assert disk.usable
    assert await disk.write(records.add, "other", DIGESTS[1])
