"""Small things by a key: a head that says what is known of it, and a body, in one file.

The first line is a checksum and JSON, and says what the rest must be, so a damaged entry is never
taken for a sound one; it is removed, and there is none.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Generic, TypeVar
from zlib import crc32

import msgspec

from simple_repository_server.disk.allowance import Allowance
from simple_repository_server.disk.ownership import check_tag
from simple_repository_server.disk.partial import write_whole

H = TypeVar("H")

_MAX_HEAD = 64 * 1024
#: Before the head is its checksum: what came with a body matters as much as the body.
_CHECK_LENGTH = 9
#: What the decoder raises for garbage.
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeError)


class BrokenEntry(Exception):
    """What is in the file is no entry, for the reason in the text."""


class EntryStore(Generic[H]):
    """Entries with heads of the type `head` below `folder`, written by way of `scratch` beside it.

    They are written if `allowance` lets them. A key is a path of one or more safe names. The
    methods block; reading never raises, writing raises `OSError`.
    """

    def __init__(
        self, folder: Path, scratch: Path, head: type[H], allowance: Allowance | None = None
    ) -> None:
        self.folder = folder
        self._scratch = scratch
        self._allowance = allowance
        self._decoder = msgspec.json.Decoder(_line_type(head))

    def load(self, *key: str) -> tuple[H, bytes] | None:
        """Head and body, or None."""
        path = self.folder.joinpath(*key)
        try:
            with path.open("rb") as file:
                line = file.readline(_MAX_HEAD)
                os.lseek(file.fileno(), len(line), os.SEEK_SET)
                # Past the buffer: a large body is read to where it stays.
                body = FileIO(file.fileno(), closefd=False).readall()
        except OSError:
            return None
        return self._checked(path, line, body)

    def load_head(self, *key: str) -> H | None:
        """The head alone, with the body unread and unchecked, or None."""
        found = self.describe(*key)
        return None if found is None else found[0]

    def describe(self, *key: str) -> tuple[H, str] | None:
        """The head, and the sha256 of the body, which is unread and unchecked; or None."""
        try:
            with self.folder.joinpath(*key).open("rb") as file:
                line = self._decode(file.readline(_MAX_HEAD))
        except (OSError, *_UNREADABLE):
            return None
        return line.head, line.sha256

    def save(self, head: H, body: bytes, *key: str) -> int:
        """Keep it under the key, in the place of another. How many bytes that takes.

        Raises `OverBudget` or another `OSError`.
        """
        said = msgspec.json.encode(_Line(sha256=_sha256(body), size=len(body), head=head))
        parts = b"%08x " % crc32(said), said, b"\n", body
        return write_whole(self.folder.joinpath(*key), parts, self._scratch, self._allowance)

    def discard(self, *key: str) -> None:
        """Remove what is under the key, if there is anything, and this is a cache of ours."""
        self._remove(self.folder.joinpath(*key))

    def keys(self, *prefix: str) -> Iterator[tuple[str, ...]]:
        """The keys that begin with `prefix`, in no order; none by way of a link."""
        if self.folder.is_symlink():
            return
        folder = self.folder.joinpath(*prefix)
        for place, _, names in os.walk(folder):
            below = Path(place).relative_to(self.folder).parts
            for name in names:
                yield (*below, name)

    def parse(self, content: bytes) -> tuple[H, bytes]:
        """Head and body of what is in an entry's file. Raises `BrokenEntry`."""
        line, newline, _ = content[:_MAX_HEAD].partition(b"\n")
        return self._parse(line, content[len(line + newline) :])

    def _decode(self, line: bytes) -> "_Line[H]":
        said = line[_CHECK_LENGTH:].removesuffix(b"\n")
        if line[:_CHECK_LENGTH] != b"%08x " % crc32(said):
            raise msgspec.ValidationError("it is not what was written")
        return self._decoder.decode(said)

    def _checked(self, path: Path, line: bytes, body: bytes) -> tuple[H, bytes] | None:
        try:
            return self._parse(line, body)
        except BrokenEntry:
            self._remove(path)
            return None

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            check_tag(self.folder.parent)
            path.unlink()

    def _parse(self, line: bytes, body: bytes) -> tuple[H, bytes]:
        try:
            said = self._decode(line)
        except _UNREADABLE as error:
            raise BrokenEntry("its first line cannot be read") from error
        if said.size != len(body):
            raise BrokenEntry(f"it has {len(body)} bytes instead of {said.size}")
        if _sha256(body) != said.sha256:
            raise BrokenEntry("its content has changed")
        return said.head, body


class _Line(msgspec.Struct, Generic[H]):
    """The first line."""

    sha256: str
    size: int
    head: H


def _line_type(head: type[H]) -> type[_Line[H]]:
    return _Line[head]  # type: ignore[valid-type]


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
