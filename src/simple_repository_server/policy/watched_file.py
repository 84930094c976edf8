"""A file that is read again whenever it changes, for rules that come from a file."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeVar

from typing_extensions import override

from simple_repository_server.errors import Malformed, os_reason
from simple_repository_server.lifecycle import SharedLifespan, running

T = TypeVar("T")

_INTERVAL_S = 1.0
#: A file that another program is still writing is read once more, this much later.
_SETTLE_S = 0.3
_DEADLINE_S = 10.0
#: Times of files are coarser than this.
_RECENT_NS = 2_000_000_000

#: Of the file and of what SQLite has not yet written to it: inode, size, times in nanoseconds.
_Signature = tuple[tuple[int, int, int, int] | None, ...]


class WatchedFile(SharedLifespan, Generic[T]):
    """What `parse` makes of the file at `path`, while it is entered as current as one second ago.

    `parse` runs in a thread, and raises `OSError` or `Malformed`. `changed` is called, on the event
    loop, after each reading with another result and whenever the file cannot be read any more.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[Path], T],
        changed: Callable[[], None],
        *,
        interval_s: float = _INTERVAL_S,
        settle_s: float = _SETTLE_S,
    ) -> None:
        self.path = path
        self._parse = parse
        self._changed = changed
        self._interval_s = interval_s
        self._settle_s = settle_s
        self._signature: _Signature | None = None
        self._refused = False
        self._reading = asyncio.Lock()
        #: None before it was read, and while it cannot be.
        self.content: T | None = None
        #: Why it cannot be read; "" if it can.
        self.problem = ""

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self._reading = asyncio.Lock()
        await self.refresh()
        async with running(self._watch()):
            yield

    async def refresh(self) -> None:
        """Read the file again if it has changed, or could not be opened."""
        async with self._reading:
            try:
                async with asyncio.timeout(_DEADLINE_S):
                    content, problem = await self._read_if_changed()
            except TimeoutError:
                content, problem = None, f"{self.path} cannot be read within {_DEADLINE_S:g} s"
            if (content, problem) != (self.content, self.problem):
                self.content, self.problem = content, problem
                self._changed()

    async def _read_if_changed(self) -> tuple[T | None, str]:
        signature = await asyncio.to_thread(_signature, self.path)
        if signature == self._signature:
            return self.content, self.problem
        result = await asyncio.to_thread(self._read)
        if result[1] and self.content is not None:
            await asyncio.sleep(self._settle_s)
            signature = await asyncio.to_thread(_signature, self.path)
            result = await asyncio.to_thread(self._read)
        # Read again next time: what the system refused may succeed without a change of the file,
        # and a file that has just changed may change again without its time differing.
        again = self._refused or _is_recent(signature)
        self._signature = None if again else signature
        return result

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.refresh()

    def _read(self) -> tuple[T | None, str]:
        self._refused = False
        try:
            return self._parse(self.path), ""
        except OSError as error:
            self._refused = True
            return None, f"{self.path} cannot be read: {os_reason(error)}"
        except Malformed as error:
            return None, f"{self.path}: {error}"
        except Exception as error:  # noqa: BLE001 - what was read before must not be used any more
            return None, f"{self.path} cannot be parsed: {error!r}"


def _signature(path: Path) -> _Signature:
    journal = _state(path.with_name(f"{path.name}-wal"))
    # Reading a database may create an empty journal, which is no change.
    return _state(path), journal if journal and journal[1] else None


def _is_recent(signature: _Signature) -> bool:
    now = time.time_ns()
    return any(0 <= now - state[2] < _RECENT_NS for state in signature if state)


def _state(path: Path) -> tuple[int, int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
