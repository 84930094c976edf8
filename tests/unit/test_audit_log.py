"""The audit log is whole lines, in order, and says what is missing from it."""

import asyncio
import json
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from simple_repository_server.errors import RepositoryError
from simple_repository_server.observe.audit_events import FileServed
from simple_repository_server.observe.audit_log import AuditLog
from simple_repository_server.observe.events import Event
from tests.waiting import until

pytestmark = pytest.mark.anyio


def _record(number: int, user_agent: str = "pip/26.3") -> FileServed:
    return FileServed(
        client="127.0.0.1",
        user="",
        project="foo",
        file=f"foo-{number}.tar.gz",
        digest="sha256:00",
        source="company",
        mode="local",
        status=200,
        index="main",
        bytes=3,
        user_agent=user_agent,
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_record_is_a_line(tmp_path: Path) -> None:
    """It has the time first, then the kind of record, then its fields in their stable order."""
    path = tmp_path / "audit.jsonl"
    async with AuditLog(path) as audit:
        audit(_record(1))
        await until(lambda: path.stat().st_size > 0)
        assert audit.state().available
    (line,) = path.read_text().splitlines()
    fields = json.loads(line)
    assert list(fields) == [
        "time", "event", "client", "user", "project", "file", "digest", "source", "mode",
        "status", "index", "bytes", "user_agent", "error",
    ]  # fmt: skip
    assert fields["event"] == "file_served"
    assert fields["time"].endswith("Z")
    assert stat.S_IMODE(path.stat().st_mode) & ~0o640 == 0


async def test_closing_writes_what_waits_in_order(tmp_path: Path) -> None:
    """Nothing is lost by stopping, and the order is that of the requests."""
    path = tmp_path / "audit.jsonl"
    async with AuditLog(path) as audit:
        for number in range(1000):
            audit(_record(number))
    assert [line["file"] for line in _lines(path)] == [f"foo-{n}.tar.gz" for n in range(1000)]


async def test_nothing_is_lost_while_records_come_and_are_written(tmp_path: Path) -> None:
    """The thread that writes and the one that adds do not disturb each other."""
    path, count = tmp_path / "audit.jsonl", 60_000
    async with AuditLog(path, max_waiting=count) as audit:
        record = _record(1)
        while not path.stat().st_size:
            audit(record)
            count -= 1
        for _ in range(count):
            audit(record)
        await until(lambda: path.read_bytes().count(b"\n") == 60_000)
    assert len(_lines(path)) == 60_000


async def test_text_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    """A lone surrogate costs no record."""
    path = tmp_path / "audit.jsonl"
    async with AuditLog(path) as audit:
        audit(_record(1, "\udc80\n"))
        audit(_record(2))
    assert [line["file"] for line in _lines(path)] == ["foo-1.tar.gz", "foo-2.tar.gz"]


async def test_a_record_that_cannot_be_written_costs_no_other(tmp_path: Path) -> None:
    """It is counted and reported as a defect; the log continues."""
    path, events = tmp_path / "audit.jsonl", list[Event]()

    class Hostile(str):
        __slots__ = ()

        @override
        def __str__(self) -> str:
            raise ValueError("no text")

    async with AuditLog(path, emit=events.append) as audit:
        audit(_record(1, Hostile("x")))
        audit(_record(2))
        await until(lambda: len(_lines(path)) == 2)
    assert [line.get("file") for line in _lines(path)] == ["foo-2.tar.gz", None]
    assert _lines(path)[1]["count"] == 1
    assert [type(event).__name__ for event in events] == ["InternalFailure", "AuditFailed"]


async def test_a_rotated_file_is_left_and_a_new_one_begun(tmp_path: Path) -> None:
    """After `reopen` records go to the file that has the path now."""
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    async with AuditLog(path) as audit:
        audit(_record(1))
        await until(lambda: path.stat().st_size > 0)
        path.rename(old)
        audit(_record(2))
        await until(lambda: len(_lines(old)) == 2)
        audit.reopen()
        await until(path.exists)
        audit(_record(3))
    assert [line["file"] for line in _lines(path)] == ["foo-3.tar.gz"]


async def test_a_file_that_cannot_be_reopened_is_reported_until_it_can(tmp_path: Path) -> None:
    """Records go to the old file meanwhile, `state` says so, and events at each change."""
    folder, events = tmp_path / "logs", list[Event]()
    folder.mkdir()
    path, moved = folder / "audit.jsonl", tmp_path / "moved"
    async with AuditLog(path, emit=events.append) as audit:
        folder.rename(moved)
        audit.reopen()
        await until(lambda: not audit.state().available)
        assert "no such file" in audit.state().detail
        audit(_record(1))
        await until(lambda: (moved / "audit.jsonl").stat().st_size > 0)
        folder.mkdir()
        await until(lambda: audit.state().available is True)
        audit(_record(2))
    assert [line["file"] for line in _lines(path)] == ["foo-2.tar.gz"]
    assert [type(event).__name__ for event in events] == ["AuditFailed", "AuditRecovered"]


async def test_what_comes_too_fast_is_counted(tmp_path: Path) -> None:
    """Beyond the queue records are lost; the file says how many, and so does an event."""
    path, events = tmp_path / "audit.jsonl", list[Event]()
    audit = AuditLog(path, max_waiting=10, emit=events.append)
    async with audit:
        for number in range(25):  # at once: the thread waits for a moment before it writes
            audit(_record(number))
        await until(lambda: bool(events))
    lines = _lines(path)
    lost = [line["count"] for line in lines if line["event"] == "records_lost"]
    written = [line for line in lines if line["event"] == "file_served"]
    assert len(written) >= 10
    assert sum(lost) + len(written) == 25
    assert "records were lost" in events[0].text()


@pytest.mark.parametrize("kind", ["missing folder", "folder", "pipe"])
async def test_what_cannot_be_opened_keeps_the_server_from_starting(
    tmp_path: Path, kind: str
) -> None:
    """It is one sentence with the path and the reason, and it blocks nothing."""
    path = tmp_path / "audit"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = tmp_path / "missing" / "audit"
    with pytest.raises(RepositoryError, match="The audit log .*/audit cannot be opened: "):
        async with asyncio.timeout(5), AuditLog(path):
            pass


_FULL = """
    import asyncio, json, resource, sys
    from pathlib import Path
    from tests.unit.test_audit_log import _record
    from simple_repository_server.observe.audit_log import AuditLog

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async def main():
        path = Path(sys.argv[1])
        events = []
        async with AuditLog(path, max_waiting=5, emit=events.append) as audit:
            audit(_record(0))
            while not path.stat().st_size: await asyncio.sleep(0.01)
            limit(int(path.stat().st_size * 2.5))
            for number in range(1, 5): audit(_record(number))
            while audit.state().available: await asyncio.sleep(0.01)
            before = path.read_text()
            for number in range(5, 20): audit(_record(number))
            detail = audit.state().detail
            limit(resource.RLIM_INFINITY)
            while not audit.state().available: await asyncio.sleep(0.01)
        print(json.dumps([before, detail, [event.text() for event in events]]))

    asyncio.run(main())
"""


def test_a_full_disk_delays_records_and_costs_those_beyond_the_queue(tmp_path: Path) -> None:
    """No line is cut, none is written twice, and how many were lost is written when it recovers."""
    path = tmp_path / "audit.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_FULL), path],
        capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2], check=True,
    )  # fmt: skip
    before, detail, events = json.loads(done.stdout)
    assert before.endswith("}\n")
    assert before.count("\n") == 2
    assert "it cannot be written: " in detail
    assert "records were lost" in detail
    lines = _lines(path)
    numbers = [line["file"] for line in lines if line["event"] == "file_served"]
    assert numbers == [f"foo-{number}.tar.gz" for number in range(len(numbers))]
    lost = [line["count"] for line in lines if line["event"] == "records_lost"]
    assert lost == [20 - len(numbers)]
    assert any("is written again" in text for text in events)
