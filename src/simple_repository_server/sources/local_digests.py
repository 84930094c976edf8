"""Digests and other facts about local files: looked up, or computed in threads.

Every file is read once, however many pages want it. A page that is requested comes before the rest
of the directory, which is read in the background: its files wait for at most one short batch.
"""

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from simple_repository_server.cache.background import internal_failure
from simple_repository_server.names import batched
from simple_repository_server.observe.events import DigestProgress, DigestsComputed, Emit
from simple_repository_server.sources.local_entries import Found
from simple_repository_server.sources.local_facts import DigestStore
from simple_repository_server.sources.local_files import FileFacts, compute_facts, identify
from simple_repository_server.sources.local_problems import Problems

_THREADS = 2
#: A batch is read by one thread, and written to the store in one transaction.
_BATCH_FILES = 64
_BATCH_BYTES = 8 * 1024 * 1024
#: Files looked up at a time before the background reads any.
_LOOKUP_FILES = 500
#: How long to wait after a lookup that found all files known, in multiples of its duration.
_PAUSE = 9
#: Computing that took longer is reported when it is done.
_LONG_S = 2.0
#: Progress is reported at most once in so long, and at the end.
_PROGRESS_S = 0.1

#: By path.
Computed = dict[str, FileFacts]


class DigestQueue:
    """Computes the facts about files that the store does not have, and stores them.

    Files are given by path, with their sizes in bytes.
    """

    def __init__(self, store: DigestStore, *, problems: Problems, emit: Emit) -> None:
        self._store = store
        self._problems = problems
        self._emit = emit
        #: Files of the directory that nobody has requested yet.
        self._background: dict[str, int] = {}
        self._in_flight: dict[str, asyncio.Future[Computed]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._stopping = threading.Event()

    async def open(self) -> None:
        """Start the threads and open the store."""
        self._stopping.clear()
        self._in_flight.clear()
        self._threads = ThreadPoolExecutor(_THREADS, "digests")
        await asyncio.to_thread(self._store.open)

    async def close(self) -> None:
        """Abandon what is being computed and close the store."""
        self._stopping.set()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
        await asyncio.to_thread(self._store.close)

    async def compute(self, sizes: Mapping[str, int], root: str) -> Computed:
        """The facts by path, without those of files that changed while read or cannot be read.

        Files are only read where they lie below `root`, a real path.
        """
        running = {self._in_flight[path] for path in sizes if path in self._in_flight}
        waiting = {path: size for path, size in sizes.items() if path not in self._in_flight}
        for path in waiting:
            self._background.pop(path, None)
        running.update(self._start(batch, root) for batch in _batches(waiting.items()))
        if running:
            await asyncio.wait(running)  # others may want the result: they are not cancelled
        return {path: facts for batch in running for path, facts in batch.result().items()}

    async def compute_all(self, found: Iterable[Found], root: str) -> None:
        """Compute the facts about all files that are not in the store, and report progress."""
        self._background = {}
        for some in batched(found, _LOOKUP_FILES):
            started = time.monotonic()
            missing = await asyncio.to_thread(self._missing, some, root)
            self._background |= missing
            if not missing:  # nothing to do, most likely in all of it: requests come first
                await asyncio.sleep(_PAUSE * (time.monotonic() - started))
        progress = _Progress(self._problems.label, self._background, self._emit)

        async def work() -> None:
            while self._background:
                batch = next(_batches(self._background.items()))
                await self.compute(batch, root)
                progress.report(self._background)

        await asyncio.gather(*(work() for _ in range(_THREADS)))
        progress.finish()

    def _missing(self, found: list[Found], root: str) -> dict[str, int]:
        """The sizes of those of the files that the store does not know; blocks."""
        identities = identify(found, root, self._problems)
        files = {one.path: identities[one.path] for one in found if one.path in identities}
        known = self._store.get(files.values())
        return {path: one.size for path, one in files.items() if one not in known}

    def _start(self, batch: Mapping[str, int], root: str) -> asyncio.Future[Computed]:
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, self._compute, batch, root)
        self._in_flight.update(dict.fromkeys(batch, running))
        running.add_done_callback(partial(self._remove, batch))
        return running

    def _remove(self, batch: Iterable[str], _: object) -> None:
        for path in batch:
            self._in_flight.pop(path, None)

    def _compute(self, batch: Iterable[str], root: str) -> Computed:
        computed = {}
        for path in batch:
            try:
                facts = compute_facts(path, root, self._problems, self._stopping)
            except Exception as error:  # noqa: BLE001 - a defect must not cost the other files
                event = internal_failure(f"{path} cannot be read", error)
                self._problems.report(path, event.what, event)
                continue
            if facts is not None:
                computed[path] = facts
            if self._stopping.is_set():
                break
        self._store.put(dict(computed.values()))
        return computed


class _Progress:
    """Reports how many of the files that were unknown at the start are done."""

    def __init__(self, source: str, sizes: Mapping[str, int], emit: Emit) -> None:
        self._source = source
        self._files = len(sizes)
        self._bytes = sum(sizes.values())
        self._emit = emit
        self._started = time.monotonic()
        self._reported_at = float("-inf")

    def report(self, left: Mapping[str, int]) -> None:
        """All files are done, or being read, but these."""
        now = time.monotonic()
        if left and now - self._reported_at < _PROGRESS_S:
            return
        self._reported_at = now
        self._emit(
            DigestProgress(
                source=self._source,
                done_files=self._files - len(left),
                files=self._files,
                done_bytes=self._bytes - sum(left.values()),
                bytes=self._bytes,
            )
        )

    def finish(self) -> None:
        """Report that all is done, if it took long."""
        duration_s = time.monotonic() - self._started
        if duration_s > _LONG_S:
            self._emit(
                DigestsComputed(
                    source=self._source,
                    files=self._files,
                    bytes=self._bytes,
                    duration_s=duration_s,
                )
            )


def _batches(sizes: Iterable[tuple[str, int]]) -> Iterator[dict[str, int]]:
    """The files in batches that one thread reads in a fraction of a second, large files alone."""
    batch: dict[str, int] = {}
    total = 0
    for path, size in sizes:
        if batch and (len(batch) == _BATCH_FILES or total + size > _BATCH_BYTES):
            yield batch
            batch, total = {}, 0
        batch[path] = size
        total += size
    if batch:
        yield batch
