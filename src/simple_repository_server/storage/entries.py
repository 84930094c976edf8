"""Small things by a key: a head that says what is known of it, and a body, in one file.

The first line is JSON and says what the rest must be, so a damaged entry is never taken for a
sound one; it is removed, and there is none.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar
from zlib import crc32

import msgspec

from simple_repository_server.storage.partial import write_whole

H = TypeVar("H")

_MAX_HEAD = 64 * 1024


class EntryStore(Generic[H]):
    """Entries with heads of the type `head` below `folder`, written by way of `scratch`.

    A key is a path of one or more safe names. The methods block; reading never raises, writing
    raises `OSError`.
    """

    def __init__(self, folder: Path, scratch: Path, head: type[H]) -> None:
        self.folder = folder
        self._scratch = scratch
        self._decoder = msgspec.json.Decoder(_line_type(head))

    def load(self, *key: str) -> tuple[H, bytes] | None:
        """Head and body, or None."""
        path = self.folder.joinpath(*key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        return self._read(path, content)

    def load_head(self, *key: str) -> H | None:
        """The head alone, with the body unread and unchecked, or None."""
        found = self.describe(*key)
        return None if found is None else found[0]

    def describe(self, *key: str) -> tuple[H, str] | None:
        """The head, and the sha256 of the body, which is unread and unchecked; or None."""
        try:
            with self.folder.joinpath(*key).open("rb") as file:
                line = self._decode(file.readline(_MAX_HEAD))
        except (OSError, msgspec.MsgspecError):
            return None
        return line.head, line.sha256

    def save(self, head: H, body: bytes, *key: str) -> int:
        """Keep it under the key, in the place of another. How many bytes that takes."""
        line = _Line(sha256=_sha256(body), size=len(body), head=head)
        line.check = _check(line)
        parts = msgspec.json.encode(line), b"\n", body
        return write_whole(self.folder.joinpath(*key), parts, self._scratch)

    def discard(self, *key: str) -> None:
        """Remove what is under the key, if there is anything."""
        with contextlib.suppress(OSError):
            self.folder.joinpath(*key).unlink()

    def keys(self, *prefix: str) -> Iterator[tuple[str, ...]]:
        """The keys that begin with `prefix`, in no order."""
        folder = self.folder.joinpath(*prefix)
        for place, _, names in os.walk(folder):
            below = Path(place).relative_to(self.folder).parts
            for name in names:
                yield (*below, name)

    def is_intact(self, *key: str) -> bool:
        """Whether the entry can be read; if it cannot it is removed."""
        return self.load(*key) is not None

    def _decode(self, line: bytes) -> "_Line[H]":
        said = self._decoder.decode(line)
        if said.check != _check(said):
            raise msgspec.ValidationError("it is not what was written")
        return said

    def _read(self, path: Path, content: bytes) -> tuple[H, bytes] | None:
        line, _, body = content.partition(b"\n")
        try:
            said = self._decode(line)
        except msgspec.MsgspecError:
            said = None
        if said is None or said.size != len(body) or _sha256(body) != said.sha256:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return said.head, body


class _Line(msgspec.Struct, Generic[H]):
    """The first line."""

    sha256: str
    size: int
    head: H
    #: Of the rest of the line: what came with a body matters as much as the body.
    check: int = 0


def _check(line: _Line[H]) -> int:
    return crc32(msgspec.json.encode((line.sha256, line.size, line.head)))


def _line_type(head: type[H]) -> type[_Line[H]]:
    return _Line[head]  # type: ignore[valid-type]


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
