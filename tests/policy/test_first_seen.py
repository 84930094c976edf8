"""When this server first saw a file."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from simple_repository_server.model import File
from simple_repository_server.names import FileName
from simple_repository_server.observe.events import Event, InternalFailure
from simple_repository_server.observe.rule_events import RuleFailed, RuleRecovered
from simple_repository_server.policy.first_seen import FirstSeen, FirstSeenError, digest_of

ONE, TWO = b"1" * 32, b"2" * 32

Make = Callable[..., FirstSeen]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def clock() -> Clock:
    """A clock that the test sets."""
    return Clock()


@pytest.fixture
async def make(clock: Clock) -> AsyncIterator[Make]:
    """Makes stores that are closed after the test."""
    async with AsyncExitStack() as stack:

        def new(path: Path | None = None, **options: object) -> FirstSeen:
            store = FirstSeen(path, clock=clock, **options)  # type: ignore[arg-type]
            stack.callback(store.close)
            return store

        yield new


@pytest.mark.parametrize(
    ("hashes", "expected"),
    [
        ({"sha256": "ab" * 32}, b"\xab" * 32),
        ({"md5": "00" * 16, "sha512": "cd" * 64}, b"\xcd" * 64),
        ({"sha384": "ef" * 48, "sha256": "ab" * 32}, b"\xab" * 32),
        ({}, None),
        ({"md5": "00" * 16, "sha1": "00" * 20}, None),
        ({"blake2s": "ab" * 32, "sha3_256": "ab" * 32}, None),
        ({"sha256": "no digest"}, None),
    ],
)
def test_files_are_recognised_by_digests_that_installers_verify(
    hashes: dict[str, str], expected: bytes | None
) -> None:
    """SHA-2 only: a source could announce any other digest without a client noticing."""
    file = File(filename=FileName("a-1.tar.gz"), url="", hashes=hashes)
    assert digest_of(file) == expected


@pytest.mark.parametrize("stored", [True, False])
async def test_first_time_remains(make: Make, clock: Clock, tmp_path: Path, stored: bool) -> None:
    """A digest has the time at which it was first asked for, a new one beside it its own."""
    store = make(tmp_path / "seen.sqlite" if stored else None)
    assert await store.times([ONE]) == {ONE: 1000}
    clock.now = 2000.5
    assert await store.times([ONE, TWO]) == {ONE: 1000, TWO: 2000.5}
    clock.now = 500
    assert await store.times([TWO, ONE]) == {ONE: 1000, TWO: 2000.5}
    assert await store.times([]) == {}


async def test_times_survive_a_restart(make: Make, clock: Clock, tmp_path: Path) -> None:
    """They are in the file, after the store was left and entered again, and for another store."""
    store = make(tmp_path / "state" / "seen.sqlite")
    async with store:
        await store.times([ONE])
    clock.now = 2000
    async with store:
        assert await store.times([ONE]) == {ONE: 1000}
    assert await make(tmp_path / "state" / "seen.sqlite").times([ONE]) == {ONE: 1000}


async def test_many_digests_are_asked_for_at_once(make: Make) -> None:
    """More than one query has parameters for."""
    digests = [number.to_bytes(32) for number in range(4_400)]
    store = make()
    assert await store.times(digests) == dict.fromkeys(digests, 1000)
    assert await store.times(digests[:2_000]) == dict.fromkeys(digests[:2_000], 1000)


async def test_another_process_is_first(make: Make, tmp_path: Path) -> None:
    """A digest that another process stores in between has that process's time, in both."""
    path = tmp_path / "seen.sqlite"
    other = make(path)

    def clock() -> float:
        other.lookup([ONE])
        return 1001.0

    store = FirstSeen(path, clock=clock)
    async with store:
        assert await store.times([ONE, TWO]) == {ONE: 1000, TWO: 1001}
    assert await other.times([ONE, TWO]) == {ONE: 1000, TWO: 1001}


_WRITER = """
import sys, time
from pathlib import Path
from simple_repository_server.observe.rule_events import RuleFailed, RuleRecovered
from simple_repository_server.policy.first_seen import FirstSeen
store = FirstSeen(Path(sys.argv[1]), clock=lambda: float(sys.argv[2]))
digests = [number.to_bytes(32) for number in range(50)]
sys.stdin.read()
for start in range(0, 50, 5):
    print(*(store.lookup(digests[start:start + 5])[one] for one in digests[start:start + 5]))
store.close()
"""


def test_processes_agree(tmp_path: Path) -> None:
    """Processes that see files at the same moment all get the time of the one that was first."""
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "seen.sqlite")]
    processes = [
        subprocess.Popen(
            [*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    answers = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(answers) == 1
    assert len(answers.pop().split()) == 50


async def test_corrupt_file_is_replaced_and_reported(make: Make, tmp_path: Path) -> None:
    """Its files count as new, which hides them for longer; the operator reads so in the log."""
    path = tmp_path / "seen.sqlite"
    path.write_bytes(b"no database" * 1000)
    events: list[Event] = []
    store = make(path, emit=events.append)
    assert await store.times([ONE]) == {ONE: 1000}
    assert [type(event) for event in events] == [InternalFailure]
    assert "files without upload time are new" in events[0].text()


async def test_file_that_becomes_corrupt_in_part(make: Make, tmp_path: Path) -> None:
    """After one error it is replaced, although it can still be opened."""
    path = tmp_path / "seen.sqlite"
    digests = [number.to_bytes(32) for number in range(4_000)]
    events: list[Event] = []
    store = make(path, emit=events.append)
    await store.times(digests)
    store.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(FirstSeenError, match="malformed"):
        await store.times(digests)
    assert await store.times(digests) == dict.fromkeys(digests, 1000)
    assert [type(event) for event in events] == [RuleFailed, InternalFailure, RuleRecovered]


async def test_new_file_is_not_reported(make: Make, tmp_path: Path) -> None:
    """Neither a new one, nor one that is opened again."""
    events: list[Event] = []
    for _ in range(2):
        async with make(tmp_path / "seen.sqlite", emit=events.append) as store:
            await store.times([ONE])
    assert events == []


async def test_unusable_place_is_an_error(make: Make, tmp_path: Path) -> None:
    """A file that cannot be written is an error with the reason until it can; reported once."""
    path = tmp_path / "seen.sqlite"
    path.mkdir()
    events: list[Event] = []
    store = make(path, emit=events.append)
    for _ in range(2):
        with pytest.raises(FirstSeenError, match="first-seen times cannot be stored"):
            await store.times([ONE])
    assert "cannot be stored" in store.problem
    path.rmdir()
    assert await store.times([ONE]) == {ONE: 1000}
    assert store.problem == ""
    assert [type(event) for event in events] == [RuleFailed, RuleRecovered]


async def test_file_of_a_later_release_is_left_alone(make: Make, tmp_path: Path) -> None:
    """It is an error, not a reason to delete what the later release stored."""
    import sqlite3
    from contextlib import closing

    path = tmp_path / "seen.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 7")
    with pytest.raises(FirstSeenError, match="made by a later release"):
        await make(path).times([ONE])
