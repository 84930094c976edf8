"""How much room is taken, and what goes first when it is too much."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

#: What the smallest file takes.
_BLOCK_BYTES = 4096
#: How exactly the last use counts, and for how long a file may be in use without saying so.
_SLOT_S, _IN_USE_S = 10.0, 6.0
#: How far ahead the clock of another machine may be.
_AHEAD_S = 3600.0
#: How far down it goes, once it is too much.
_LOW = 0.9
#: After so many files others get their turn: walking through millions must not hold anybody up.
_AT_ONCE, _PAUSE_S = 500, 0.002


class Kept(msgspec.Struct, frozen=True):
    """A file that could be removed: where, how much room it takes, and when it was last used."""

    path: str
    bytes: int
    used_at: float


def walk(*folders: Path, now: float) -> Iterator[Kept]:
    """All files below the folders, in no order, but none by way of a link. Slow on purpose.

    A time far in the future is none: it was set by a clock that has been set back since.
    """
    waiting = [str(folder) for folder in folders if not folder.is_symlink()]
    seen = 0
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                with contextlib.suppress(OSError):
                    stat = entry.stat(follow_symlinks=False)
                    times = (stat.st_atime, stat.st_mtime)
                    used_at = max((at for at in times if at < now + _AHEAD_S), default=0.0)
                    yield Kept(entry.path, room_for(stat.st_size), used_at)
                seen += 1
                if seen % _AT_ONCE == 0:
                    time.sleep(_PAUSE_S)


def room_for(size: int) -> int:
    """What a file of that many bytes takes on a disk, about."""
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def used_by_time(kept: Iterable[Kept]) -> Mapping[int, int]:
    """How many bytes were last used in which ten seconds: enough to decide what has to go."""
    used: dict[int, int] = {}
    for file in kept:
        slot = _slot(file.used_at)
        used[slot] = used.get(slot, 0) + file.bytes
    return used


def goal(total: int, *, max_bytes: int, lacking: int = 0) -> int:
    """To how many bytes to bring down what is kept.

    If it is too much, to nine tenths of `max_bytes`, so that this is not needed all the time. Where
    the disk is full, by so much as we are `lacking`, unless that is more than half of it all.
    """
    wanted = int(max_bytes * _LOW) if total > max_bytes else total
    return min(wanted, total - lacking) if lacking <= total // 2 else wanted


def too_old(used: Mapping[int, int], *, max_bytes: int, now: float) -> tuple[int, int]:
    """What to remove so that the rest has no more than `max_bytes`.

    That is all of the slots before the first number, and of that slot itself as many bytes as the
    second number says. What was used just now stays: it may be on its way to a client.
    """
    surplus = sum(used.values()) - max_bytes
    newest = _slot(now - _IN_USE_S)
    for slot in sorted(used):
        if surplus <= 0 or slot >= newest:
            return slot, 0
        if used[slot] > surplus:
            return slot, surplus
        surplus -= used[slot]
    return newest, 0


def remove(kept: Iterable[Kept], limit: tuple[int, int]) -> tuple[int, int]:
    """Remove what `too_old` said: how many files that were, and how much room it made."""
    count, freed = 0, 0
    for file in chosen(kept, limit):
        with contextlib.suppress(OSError):
            Path(file.path).unlink()
            count, freed = count + 1, freed + file.bytes
    return count, freed


def chosen(kept: Iterable[Kept], limit: tuple[int, int]) -> Iterator[Kept]:
    """Those of the files that `too_old` said have to go."""
    before, of_slot = limit
    for file in kept:
        slot = _slot(file.used_at)
        if slot < before:
            yield file
        elif slot == before and of_slot > 0:
            of_slot -= file.bytes
            yield file


def long_unused(kept: Iterable[Kept], *, unused_s: float, now: float) -> Iterator[Kept]:
    """Those of the files that nobody used for that long; none that may be in use right now."""
    before = now - max(unused_s, _IN_USE_S)
    return (file for file in kept if file.used_at < before)


def _slot(used_at: float) -> int:
    return int(used_at // _SLOT_S)
