"""A file that is read again whenever it changes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from simple_repository_server.errors import Malformed
from simple_repository_server.policy.watched_file import WatchedFile
from tests.waiting import until

QUICK = {"interval_s": 0.01, "settle_s": 0.01}


class Reader:
    """Parses a file as its text, and counts. Texts with `bad` cannot be parsed."""

    def __init__(self) -> None:
        self.readings = 0
        self.changes = 0
        self.before: Callable[[], object] | None = None

    def parse(self, path: Path) -> str:
        """The text."""
        self.readings += 1
        text = path.read_text()
        if "bad" in text:
            if self.before:
                self.before()
            raise Malformed("it is bad")
        if "bug" in text:
            raise ZeroDivisionError
        return text

    def changed(self) -> None:
        """Another result."""
        self.changes += 1


async def test_content_follows_the_file(tmp_path: Path) -> None:
    """Each content is read, and reported once; the content is there when the file is entered."""
    path = tmp_path / "file"
    path.write_text("one")
    reader = Reader()
    watched = WatchedFile(path, reader.parse, reader.changed, **QUICK)
    async with watched:
        assert (watched.content, reader.changes) == ("one", 1)
        path.write_text("two")
        await until(lambda: watched.content == "two")
        assert reader.changes == 2


async def test_unchanged_file_is_not_read(tmp_path: Path) -> None:
    """A file that has not changed for some seconds costs a look at its times only."""
    import os

    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, ns=(10**18, 10**18))
    reader = Reader()
    watched = WatchedFile(path, reader.parse, reader.changed, **QUICK)
    async with watched:
        for _ in range(3):
            await watched.refresh()
    assert reader.readings == 1


async def test_file_that_has_just_changed_is_read_again(tmp_path: Path) -> None:
    """It may change once more without another time, so its times prove nothing yet."""
    path = tmp_path / "file"
    path.write_text("one")
    reader = Reader()
    watched = WatchedFile(path, reader.parse, reader.changed)
    await watched.refresh()
    await watched.refresh()
    assert (reader.readings, reader.changes) == (2, 1)


async def test_file_that_is_just_being_written(tmp_path: Path) -> None:
    """A defect that is repaired a moment later changes nothing."""
    path = tmp_path / "file"
    path.write_text("one")
    reader = Reader()
    watched = WatchedFile(path, reader.parse, reader.changed, **QUICK)
    async with watched:
        reader.before = lambda: path.write_text("two")
        path.write_text("bad")
        await until(lambda: watched.content == "two")
    assert reader.changes == 2


async def test_defects_end_the_use_of_the_file(tmp_path: Path) -> None:
    """What was read before is not used any more: not even after a mistake of the parser."""
    path = tmp_path / "file"
    reader = Reader()
    watched = WatchedFile(path, reader.parse, reader.changed, **QUICK)
    async with watched:
        assert watched.content is None
        assert watched.problem == f"{path} cannot be read: no such file or directory"
        for text, problem in [
            ("bad", f"{path}: it is bad"),
            ("bug", f"{path} cannot be parsed: ZeroDivisionError()"),
        ]:
            path.write_text("good")
            await until(lambda: watched.content == "good")
            assert watched.problem == ""
            path.write_text(text)
            await until(lambda: watched.content is None)
            assert watched.problem == problem


async def test_callers_wait_for_one_reading(tmp_path: Path) -> None:
    """Those that need the content at the same time do not read the file once each."""
    import os

    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, ns=(10**18, 10**18))
    reader = Reader()
    watched = WatchedFile(path, reader.parse, reader.changed)
    await asyncio.gather(*(watched.refresh() for _ in range(5)))
    assert (watched.content, reader.readings) == ("one", 1)
