"""The facts about local files: remembered, or found out in worker threads, once each."""

import asyncio
import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import BinaryIO

from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.distributions.metadata import read_metadata, requires_python
from simple_repository_server.errors import Malformed, os_reason
from simple_repository_server.names import shown_path
from simple_repository_server.observe.events import DigestProgress, DigestsComputed, Emit
from simple_repository_server.opening import LeadsOut, open_regular, stat_beneath, wait_for_tick
from simple_repository_server.sources.local_entries import Found
from simple_repository_server.sources.local_facts import DigestStore, Facts, FileIdentity
from simple_repository_server.sources.local_reports import Reports

_THREADS = 2
_READ_BYTES = 1024 * 1024
#: Work that took longer is told of when it is done.
_LONG_S = 2.0


def identity_of(path: str, state: os.stat_result) -> FileIdentity:
    """The identity of the file at the path, of which `state` is what `os.stat` says."""
    return FileIdentity(shown_path(path), state.st_size, state.st_mtime_ns, state.st_ino)


class Inspector:
    """Finds out the facts about files, keeps them in `digests`, and reports on long work."""

    def __init__(self, digests: DigestStore, *, reports: Reports, emit: Emit) -> None:
        self._digests = digests
        self._reports = reports
        self._label = reports.label
        self._emit = emit
        self._flight: SingleFlight[FileIdentity, Facts | None] = SingleFlight()
        self._threads: ThreadPoolExecutor | None = None
        self._stopping = threading.Event()

    async def open(self) -> None:
        """Start the threads and open the store."""
        self._stopping.clear()
        self._threads = ThreadPoolExecutor(_THREADS, "digests")
        await asyncio.to_thread(self._digests.open)

    async def close(self) -> None:
        """Stop what runs and close the store."""
        self._stopping.set()
        await self._flight.cancel_all()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
        await asyncio.to_thread(self._digests.close)

    async def facts(self, files: dict[str, FileIdentity], root: str) -> dict[str, Facts]:
        """The facts about the files at these paths, without those that changed meanwhile.

        They are only read where they lie below `root`, a real path.
        """
        known = await asyncio.to_thread(self._known, files)
        unknown = {path: files[path] for path in files if path not in known}
        found = await asyncio.gather(*(self._inspect(p, i, root) for p, i in unknown.items()))
        fresh = {p: facts for p, facts in zip(unknown, found, strict=True) if facts is not None}
        return known | fresh

    async def inspect_all(self, files: dict[str, FileIdentity], root: str) -> None:
        """Find out the facts about all the files beforehand, telling how far it is."""
        known = await asyncio.to_thread(self._known, files)
        unknown = {path: files[path] for path in files if path not in known}
        total = sum(identity.size for identity in unknown.values())
        done_files = done_bytes = 0
        waiting = iter(unknown.items())
        started = time.monotonic()

        async def work() -> None:
            nonlocal done_files, done_bytes
            for path, identity in waiting:
                await self._inspect(path, identity, root)
                done_files, done_bytes = done_files + 1, done_bytes + identity.size
                self._emit(
                    DigestProgress(
                        source=self._label,
                        done_files=done_files,
                        files=len(unknown),
                        done_bytes=done_bytes,
                        bytes=total,
                    )
                )

        await asyncio.gather(*(work() for _ in range(_THREADS)))
        duration_s = time.monotonic() - started
        if duration_s > _LONG_S:
            self._emit(
                DigestsComputed(
                    source=self._label,
                    files=done_files,
                    bytes=done_bytes,
                    duration_s=duration_s,
                )
            )

    def _known(self, files: dict[str, FileIdentity]) -> dict[str, Facts]:
        found = ((path, self._digests.get(identity)) for path, identity in files.items())
        return {path: facts for path, facts in found if facts is not None}

    async def _inspect(self, path: str, identity: FileIdentity, root: str) -> Facts | None:
        async def work() -> Facts | None:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._read, path, identity, root)

        return await self._flight.run(identity, work)

    def _read(self, path: str, identity: FileIdentity, root: str) -> Facts | None:
        wait_for_tick(identity.mtime_ns)
        try:
            with open_regular(path, root=root) as file:
                facts = inspect(file, PurePath(path).name, self._stopping)
                unchanged = identity_of(path, os.fstat(file.fileno())) == identity
        except FileNotFoundError:
            return None
        except LeadsOut:
            self._reports.skipped(path, LEADS_OUT)
            return None
        except OSError as error:
            reason = f"it cannot be read ({os_reason(error)})"
            self._reports.skipped(path, reason)
            return None
        if facts is None:
            return None
        if not unchanged:
            self._reports.skipped(path, STILL_WRITTEN)
            return None
        self._digests.put(identity, facts)
        return facts


LEADS_OUT = "it leads out of the directory"
#: Why a file is not shown that changes while it is read, or is not there to its end.
STILL_WRITTEN = "it is still being written, as it seems; it is shown as soon as it is whole"


def inspect(file: BinaryIO, filename: str, stopping: threading.Event) -> Facts | None:
    """What reading the whole file brings out; None if it is to stop before the end.

    Raises `OSError` as reading does.
    """
    hasher = hashlib.sha256()
    while chunk := file.read(_READ_BYTES):
        hasher.update(chunk)
        if stopping.is_set():
            return None
    sha256 = hasher.hexdigest()
    try:
        metadata = read_metadata(file, filename)
    except Malformed as error:
        return Facts(sha256=sha256, problem=str(error))
    if metadata is None:
        return Facts(sha256=sha256)
    digest = hashlib.sha256(metadata).hexdigest() if filename.endswith(".whl") else None
    return Facts(sha256=sha256, metadata_sha256=digest, requires_python=requires_python(metadata))


def identities(files: Iterable[Found], root: str, reports: Reports) -> dict[str, FileIdentity]:
    """The identities of those of the files, and of their metadata files, that are there; blocks.

    What is there, but is no regular file below `root`, is reported.
    """
    found = {}
    for one in files:
        try:
            state = stat_beneath(one.path, root) if one.is_link else os.stat(one.path)  # noqa: PTH116 - called for each file, often
        except LeadsOut:
            reports.skipped(one.path, LEADS_OUT)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                reports.skipped(one.path, f"it cannot be read ({os_reason(error)})")
        else:
            if stat.S_ISREG(state.st_mode):
                found[one.path] = identity_of(one.path, state)
            else:
                reports.skipped(one.path, "it is no regular file")
        if one.has_sidecar and (identity := _identity_at(one.sidecar)):
            found[one.sidecar] = identity
    return found


def _identity_at(path: str) -> FileIdentity | None:
    try:
        state = os.stat(path)  # noqa: PTH116 - called for each file, often
    except OSError:
        return None
    return identity_of(path, state) if stat.S_ISREG(state.st_mode) else None
