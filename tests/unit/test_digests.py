"""What was found out about files outlives a restart, and its loss costs only time."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from simple_repository_server.observe.events import Emit, Event, ignore
from simple_repository_server.storage.digests import DigestStore, Facts, FileIdentity

IDENTITY = FileIdentity("/d/foo-1.0.whl", 10, 20, 30)
FACTS = Facts(sha256="ab", metadata_sha256="cd", requires_python=">=3.8")


def test_facts_survive_a_restart(tmp_path: Path) -> None:
    """What one process found out the next one knows."""
    for expected in (None, FACTS):
        store = DigestStore(tmp_path / "cache" / "digests.sqlite")
        store.open()
        assert store.get(IDENTITY) == expected
        store.put(IDENTITY, FACTS)
        store.close()


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[Callable[..., DigestStore]]:
    """Makes stores, and closes them in the end."""
    made: list[DigestStore] = []

    def make(path: Path | None = None, emit: Emit = ignore) -> DigestStore:
        made.append(DigestStore(path, emit=emit))
        return made[-1]

    yield make
    for store in made:
        store.close()


def test_another_file_at_the_path_is_unknown(new_store: Callable[..., DigestStore]) -> None:
    """Another size, time or inode is another file."""
    store = new_store()
    store.put(IDENTITY, FACTS)
    assert store.get(IDENTITY) == FACTS
    for changed in (
        FileIdentity(IDENTITY.path, 11, 20, 30),
        FileIdentity(IDENTITY.path, 10, 21, 30),
        FileIdentity(IDENTITY.path, 10, 20, 31),
    ):
        assert store.get(changed) is None


def test_a_broken_file_is_replaced(tmp_path: Path, new_store: Callable[..., DigestStore]) -> None:
    """Noise in the place of the database costs what was known, nothing else."""
    path = tmp_path / "digests.sqlite"
    path.write_bytes(b"noise" * 1000)
    store = new_store(path)
    store.open()
    store.put(IDENTITY, FACTS)
    store.close()
    again = new_store(path)
    assert again.get(IDENTITY) == FACTS


def test_a_file_of_another_version_is_replaced(
    tmp_path: Path, new_store: Callable[..., DigestStore]
) -> None:
    """A database an older or newer version left behind is started anew."""
    path = tmp_path / "digests.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("create table files (path text)")
        connection.execute("pragma user_version = 99")
    connection.close()
    store = new_store(path)
    store.put(IDENTITY, FACTS)
    assert store.get(IDENTITY) == FACTS


def test_without_a_usable_place_it_works_in_memory(
    tmp_path: Path, new_store: Callable[..., DigestStore]
) -> None:
    """A directory that cannot be written is told once; the facts are kept in memory."""
    events: list[Event] = []
    (tmp_path / "file").write_text("")
    store = new_store(tmp_path / "file" / "digests.sqlite", emit=events.append)
    store.open()
    store.put(IDENTITY, FACTS)
    assert store.get(IDENTITY) == FACTS
    assert len(events) == 1
    assert "not kept across restarts" in events[0].text()


def test_threads_share_a_store(tmp_path: Path, new_store: Callable[..., DigestStore]) -> None:
    """Many threads may read and write at once."""
    store = new_store(tmp_path / "digests.sqlite")

    def work(number: int) -> bool:
        identity = FileIdentity(f"/d/{number % 20}", 1, 2, 3)
        store.put(identity, FACTS)
        return store.get(identity) == FACTS

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))


def test_two_processes_share_a_file(tmp_path: Path, new_store: Callable[..., DigestStore]) -> None:
    """What one store writes another one on the same file sees."""
    one, other = new_store(tmp_path / "d.sqlite"), new_store(tmp_path / "d.sqlite")
    one.put(IDENTITY, FACTS)
    assert other.get(IDENTITY) == FACTS


def test_a_closed_store_stays_closed(tmp_path: Path) -> None:
    """A thread that comes late finds nothing and leaves nothing, until it is opened again."""
    store = DigestStore(tmp_path / "digests.sqlite")
    store.put(IDENTITY, FACTS)
    store.close()
    store.put(FileIdentity("/late", 1, 2, 3), FACTS)
    assert store.get(IDENTITY) is None
    store.open()
    assert store.get(IDENTITY) == FACTS
    store.close()
