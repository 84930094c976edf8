"""What was found out about files outlives a restart, and its loss costs only time."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from simple_repository_server.observe.events import Emit, Event, ignore
from simple_repository_server.sources.local_facts import DigestStore, Facts, FileIdentity, SeenRoot

SEEN = SeenRoot(device=7, since_ns=1)
LARGE = SeenRoot(device=2**64 - 1, since_ns=2**62)

IDENTITY = FileIdentity("/d/foo-1.0.whl", 10, 20, 30)
FACTS = Facts(sha256="ab", metadata_sha256="cd", requires_python=">=3.8")


def test_facts_survive_a_restart(tmp_path: Path) -> None:
    """What one process found out the next one knows."""
    for expected in (None, FACTS):
        store = DigestStore(tmp_path / "cache" / "digests.sqlite")
        store.open()
        assert store.get([IDENTITY]).get(IDENTITY) == expected
        store.put({IDENTITY: FACTS})
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
    store.put({IDENTITY: FACTS})
    assert store.get([IDENTITY]).get(IDENTITY) == FACTS
    for changed in (
        FileIdentity(IDENTITY.path, 11, 20, 30),
        FileIdentity(IDENTITY.path, 10, 21, 30),
        FileIdentity(IDENTITY.path, 10, 20, 31),
    ):
        assert store.get([changed]).get(changed) is None


def test_a_broken_file_is_replaced(tmp_path: Path, new_store: Callable[..., DigestStore]) -> None:
    """Noise in the place of the database costs what was known, nothing else."""
    path = tmp_path / "digests.sqlite"
    path.write_bytes(b"noise" * 1000)
    store = new_store(path)
    store.open()
    store.put({IDENTITY: FACTS})
    store.close()
    again = new_store(path)
    assert again.get([IDENTITY]).get(IDENTITY) == FACTS


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
    store.put({IDENTITY: FACTS})
    assert store.get([IDENTITY]).get(IDENTITY) == FACTS


def test_without_a_usable_place_it_works_in_memory(
    tmp_path: Path, new_store: Callable[..., DigestStore]
) -> None:
    """A directory that cannot be written is told once; the facts are kept in memory."""
    events: list[Event] = []
    (tmp_path / "file").write_text("")
    store = new_store(tmp_path / "file" / "digests.sqlite", emit=events.append)
    store.open()
    store.put({IDENTITY: FACTS})
    assert store.get([IDENTITY]).get(IDENTITY) == FACTS
    assert len(events) == 1
    assert "lost at the next restart" in events[0].text()


def test_threads_share_a_store(tmp_path: Path, new_store: Callable[..., DigestStore]) -> None:
    """Many threads may read and write at once."""
    store = new_store(tmp_path / "digests.sqlite")

    def work(number: int) -> bool:
        identity = FileIdentity(f"/d/{number % 20}", 1, 2, 3)
        store.put({identity: FACTS})
        return store.get([identity]).get(identity) == FACTS

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))


def test_two_processes_share_a_file(tmp_path: Path, new_store: Callable[..., DigestStore]) -> None:
    """What one store writes another one on the same file sees."""
    one, other = new_store(tmp_path / "d.sqlite"), new_store(tmp_path / "d.sqlite")
    one.put({IDENTITY: FACTS})
    assert other.get([IDENTITY]).get(IDENTITY) == FACTS


def test_a_closed_store_stays_closed(tmp_path: Path) -> None:
    """A thread that comes late finds nothing and leaves nothing, until it is opened again."""
    store = DigestStore(tmp_path / "digests.sqlite")
    store.put({IDENTITY: FACTS})
    store.close()
    store.put({FileIdentity("/late", 1, 2, 3): FACTS})
    assert store.get([IDENTITY]).get(IDENTITY) is None
    store.open()
    assert store.get([IDENTITY]).get(IDENTITY) == FACTS
    store.close()


# --- with others, and kept from others -----------------------------------------------------------


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_file_is_for_its_owner_only(
    tmp_path: Path, new_store: Callable[..., DigestStore]
) -> None:
    """Paths of private projects are in it: nobody else may read it, or the files beside it."""
    store = new_store(tmp_path / "cache" / "digests.sqlite")
    store.put({IDENTITY: FACTS})
    found = {path.name: _mode(path) for path in (tmp_path / "cache").iterdir()}
    assert {"digests.sqlite", "digests.sqlite-wal"} <= found.keys()
    assert set(found.values()) == {0o600}


def test_a_file_that_others_could_read_is_closed_to_them(
    tmp_path: Path, new_store: Callable[..., DigestStore]
) -> None:
    """As an earlier version left it."""
    path = tmp_path / "digests.sqlite"
    sqlite3.connect(path).close()
    path.touch(mode=0o644)
    path.chmod(0o644)
    new_store(path).put({IDENTITY: FACTS})
    assert _mode(path) == 0o600


def _locked(path: Path) -> sqlite3.Connection:
    """Another user of the file, who keeps it to itself."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma locking_mode = exclusive")
    connection.execute("begin exclusive")
    return connection


def test_a_busy_file_is_left_alone(tmp_path: Path, new_store: Callable[..., DigestStore]) -> None:
    """Who cannot have it works in memory, says so once, and uses it again when it is free."""
    events: list[Event] = []
    path = tmp_path / "digests.sqlite"
    first = DigestStore(path)
    first.open()
    first.close()
    before = path.stat().st_ino
    other = _locked(path)
    try:
        store = new_store(path, events.append)
        store.open()
        assert store.is_busy()
        store.put({IDENTITY: FACTS})
        assert store.get([IDENTITY]).get(IDENTITY) == FACTS
        assert not store.put_root("/packages", SEEN)
        assert path.stat().st_ino == before
        assert [event.text() for event in events] == [
            f"digests are not stored while {path} is locked by another process"
        ]
        other.execute("create table mine (x)")
        other.execute("commit")
    finally:
        other.close()
    store.close()
    store.open()
    assert not store.is_busy()
    assert store.put_root("/packages", SEEN)
    with sqlite3.connect(path) as connection:
        assert connection.execute("select count(*) from mine").fetchone() == (0,)
    connection.close()


def test_a_corrupt_file_in_use_is_left_alone(
    tmp_path: Path, new_store: Callable[..., DigestStore]
) -> None:
    """Who has it open may be writing: it is replaced when nobody has."""
    path = tmp_path / "digests.sqlite"
    user = new_store(path)
    user.put({IDENTITY: FACTS})
    with sqlite3.connect(path) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    path.write_bytes(b"noise" * 5000)
    before = path.stat().st_ino
    events: list[Event] = []
    late = new_store(path, events.append)
    late.open()
    assert path.stat().st_ino == before
    assert ["lost at the next restart" in event.text() for event in events] == [True]
    late.close()
    user.close()
    next_one = new_store(path)
    next_one.put({IDENTITY: FACTS})
    next_one.close()
    assert new_store(path).get([IDENTITY]).get(IDENTITY) == FACTS


def test_several_replace_a_corrupt_file_once(
    tmp_path: Path, new_store: Callable[..., DigestStore]
) -> None:
    """Workers that start together on a corrupt file end up with one new file, all of them."""
    path = tmp_path / "digests.sqlite"
    path.write_bytes(b"noise" * 5000)
    events: list[Event] = []
    stores = [new_store(path, events.append) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda store: store.open(), stores))
    stores[0].put({IDENTITY: FACTS})
    assert [store.get([IDENTITY]).get(IDENTITY) for store in stores] == [FACTS] * 8
    assert events == []


def test_a_file_that_becomes_corrupt_is_replaced(
    tmp_path: Path, new_store: Callable[..., DigestStore]
) -> None:
    """While it is in use by nobody else, what is wrong with it costs what was known."""
    path = tmp_path / "digests.sqlite"
    events: list[Event] = []
    store = new_store(path, events.append)
    for number in range(200):
        store.put({FileIdentity(f"/d/{number}", 1, 2, 3): FACTS})
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    store.open()
    for _ in range(3):  # the first ones find out
        store.get([IDENTITY]).get(IDENTITY)
        store.put({IDENTITY: FACTS})
    assert store.get([IDENTITY]).get(IDENTITY) == FACTS
    assert events == []
    store.close()
    assert new_store(path).get([IDENTITY]).get(IDENTITY) == FACTS


def test_numbers_of_any_file_system_can_be_kept(new_store: Callable[..., DigestStore]) -> None:
    """Inodes and times need all 64 bits somewhere."""
    store = new_store()
    for identity in (FileIdentity("/d", 1, 2**63 + 5, 2**64 - 1), FileIdentity("/d", 1, -5, 3)):
        store.put({identity: FACTS})
        assert store.get([identity]).get(identity) == FACTS


def test_a_directory_that_had_something_is_remembered(tmp_path: Path) -> None:
    """Across restarts, versions of the other table, and for any name of a directory."""
    path = tmp_path / "digests.sqlite"
    odd = "/pack\udcff ages"
    store = DigestStore(path)
    assert store.get_root(odd) is None
    assert store.put_root(odd, LARGE)
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("pragma user_version = 99")
    connection.close()
    store.open()
    assert store.get_root(odd) == LARGE
    assert store.put_root(odd, None)
    assert store.get_root(odd) is None
    store.close()
