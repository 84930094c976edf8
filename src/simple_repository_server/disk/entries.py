"""Small entries by a key: a head that describes a body, and the body, in one file.

The first line is a checksum and JSON, and states the size and the digest of the rest: a corrupt or
truncated entry is never taken for a valid one. It is removed, which makes it a miss.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Generic, TypeVar
from zlib import crc32

import msgspec

from simple_repository_server.disk.allowance import Allowance
from simple_repository_server.disk.last_use import mark_used
from simple_repository_server.disk.noatime import open_noatime
from simple_repository_server.disk.ownership import check_tag
from simple_repository_server.disk.partial import write_atomically

H = TypeVar("H")

_MAX_HEAD_BYTES = 64 * 1024
_USUAL_HEAD_BYTES = 2 * 1024
#: `%08x ` of the checksum of the head, which matters as much as the body.
_CHECKSUM_LENGTH = 9
#: How exactly the last use is recorded: one `utime` a minute at most for each entry.
_PRECISION_S = 60.0
#: What the decoder raises for garbage.
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeError)


class BrokenEntry(Exception):
    """The content of a file is not a valid entry, for the reason in the text."""


class EntryStore(Generic[H]):
    """Entries with heads of the type `head` below `folder`, written by way of `scratch` beside it.

    A key is a path of one or more valid names. Writes count against `allowance`. The methods
    block; reading never raises, writing raises `OSError`.
    """

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        head: type[H],
        allowance: Allowance | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._scratch = scratch
        self._allowance = allowance
        self._clock = clock
        self._decoder = msgspec.json.Decoder(_line_type(head))

    def load(self, *key: str) -> tuple[H, bytes] | None:
        """Head and body, which count as used now; None on a miss."""
        path = self.folder.joinpath(*key)
        try:
            with open_noatime(path) as descriptor:
                self._mark_used(descriptor)
                line = _first_line(descriptor)
                os.lseek(descriptor, len(line) + 1, os.SEEK_SET)
                body = FileIO(descriptor, closefd=False).readall()  # without a copy
        except OSError:
            return None
        try:
            return self._parse(line, body)
        except BrokenEntry:
            self._remove(path)
            return None

    def load_head(self, *key: str) -> H | None:
        """The head alone, which counts as used now; the body is not checked. None on a miss."""
        found = self._read_line(*key, used=True)
        return None if found is None else found.head

    def describe(self, *key: str) -> tuple[H, str] | None:
        """Head and sha256 of the body, which is not checked; None on a miss. Is not a use."""
        found = self._read_line(*key, used=False)
        return None if found is None else (found.head, found.sha256)

    def save(self, head: H, body: bytes, *key: str) -> int:
        """Write the entry, replacing any other under the key; how many bytes it takes.

        Raises `OverBudget` or another `OSError`.
        """
        line = msgspec.json.encode(_Line(sha256=_sha256(body), size=len(body), head=head))
        parts = b"%08x " % crc32(line), line, b"\n", body
        return write_atomically(self.folder.joinpath(*key), parts, self._scratch, self._allowance)

    def discard(self, *key: str) -> None:
        """Remove the entry, if it exists and the folder is in a cache of ours."""
        self._remove(self.folder.joinpath(*key))

    def keys(self, *prefix: str) -> Iterator[tuple[str, ...]]:
        """The keys that begin with `prefix`, in no order; symbolic links are not followed."""
        if self.folder.is_symlink():
            return
        for place, _, names in os.walk(self.folder.joinpath(*prefix)):
            below = Path(place).relative_to(self.folder).parts
            for name in names:
                yield (*below, name)

    def parse(self, content: bytes) -> tuple[H, bytes]:
        """Head and body of the content of an entry's file. Raises `BrokenEntry`."""
        line, newline, _ = content[:_MAX_HEAD_BYTES].partition(b"\n")
        return self._parse(line, content[len(line + newline) :])

    def _read_line(self, *key: str, used: bool) -> "_Line[H] | None":
        try:
            with open_noatime(self.folder.joinpath(*key)) as descriptor:
                line = self._decode(_first_line(descriptor))
                if used:
                    self._mark_used(descriptor)
        except (OSError, *_UNREADABLE):
            return None
        return line

    def _mark_used(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        mark_used(descriptor, status, now=self._clock(), precision_s=_PRECISION_S)

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            check_tag(self.folder.parent)
            path.unlink()

    def _parse(self, line: bytes, body: bytes) -> tuple[H, bytes]:
        try:
            decoded = self._decode(line)
        except _UNREADABLE as error:
            raise BrokenEntry("its first line is not valid") from error
        if decoded.size != len(body):
            raise BrokenEntry(f"it has {len(body)} bytes instead of {decoded.size}")
        if _sha256(body) != decoded.sha256:
            raise BrokenEntry("its content does not match its digest")
        return decoded.head, body

    def _decode(self, line: bytes) -> "_Line[H]":
        text = line[_CHECKSUM_LENGTH:]
        if line[:_CHECKSUM_LENGTH] != b"%08x " % crc32(text):
            raise msgspec.ValidationError("the checksum does not match")
        return self._decoder.decode(text)


class _Line(msgspec.Struct, Generic[H]):
    """The first line."""

    sha256: str
    size: int
    head: H


def _line_type(head: type[H]) -> type[_Line[H]]:
    return _Line[head]  # type: ignore[valid-type]  # a type made at run time, for the decoder


def _first_line(descriptor: int) -> bytes:
    """The first line of a file, without its end."""
    start = os.pread(descriptor, _USUAL_HEAD_BYTES, 0)
    if b"\n" not in start:
        start = os.pread(descriptor, _MAX_HEAD_BYTES, 0)
    return start.partition(b"\n")[0]


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
