"""Reading the whole cache to find corrupt entries and garbage, and to remove them.

What is removed is fetched again on the next request. Servers may use the cache at the same
time: what they remove or replace while it is being checked is no damage.
"""

import contextlib
import os
import shutil
import stat
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from simple_repository_server.disk.contents import Contents, Item, items
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import (
    CHANGES,
    FILES,
    KEY,
    LOCK,
    NAMES,
    PARTIAL,
    PROJECTS,
    VALID_NAMES,
    digest_of,
)
from simple_repository_server.disk.noatime import iter_chunks, open_noatime
from simple_repository_server.disk.ownership import check_tag
from simple_repository_server.disk.partial import abandoned
from simple_repository_server.disk.secret_key import KEY_BYTES
from simple_repository_server.errors import os_reason

_THREADS = 4
#: How many files are queued for the threads at most.
_QUEUED = 64
#: The permissions that group and others may not have on anything in the cache,
_WRITE_BY_OTHERS = 0o022
#: and those they may not have on what lies directly below: project names are private.
_ANY_BY_OTHERS = 0o077


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder that is corrupt, garbage, unexpected or has the wrong permissions."""

    path: Path
    reason: str
    #: How it was repaired, e.g. `removed`; empty in a dry run or after a failure.
    repair: str = ""
    #: Why it could not be repaired.
    failure: str = ""


class Verification:
    """One check of the whole cache of `disk`.

    With `dry_run` nothing is changed. `advance` gets the numbers of bytes read, from any thread.
    """

    def __init__(
        self,
        disk: CacheFolder,
        *,
        dry_run: bool = False,
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        #: How many files were checked.
        self.files = 0
        self._disk = disk
        self._dry_run = dry_run
        self._advance = advance
        self._contents = Contents(disk, self._is_cached)
        self._listed: set[bytes] = set()
        self._damaged: set[bytes] = set()
        self._stopped = threading.Event()
        self._abandoned: set[Path] = set()
        self._exposed = False

    def run(self) -> Generator[Damage, None, None]:
        """All damage, repaired as it is found. Close the generator to stop between two repairs.

        Raises `ForeignFolder` in a folder without our tag: nothing there is damage.
        """
        check_tag(self._folder)
        yield from self._check_root()
        self._abandoned = {
            path for path, _ in abandoned(self._folder / PARTIAL, self._disk.clock())
        }
        for place in VALID_NAMES:
            # One after the other: links and records are checked once the files are known.
            yield from self._check_all(items(self._folder, place))

    def foreign(self) -> list[str]:
        """Names in the folder that do not belong to the cache: they are left unchanged."""
        return sorted({path.name for path in self._folder.iterdir()} - NAMES)

    @property
    def _folder(self) -> Path:
        return self._disk.folder

    def _check_root(self) -> Iterator[Damage]:
        root = Item("", self._folder, self._folder.stat())
        self._exposed = bool(root.stat.st_mode & 0o011)
        if root.stat.st_mode & _WRITE_BY_OTHERS:
            yield self._repair(root, "others may write to it", _write_protect)
        for name in (LOCK, KEY, CHANGES):
            path = self._folder / name
            with contextlib.suppress(FileNotFoundError):
                yield from self._check_root_file(Item("", path, path.lstat()))

    def _check_root_file(self, item: Item) -> Iterator[Damage]:
        if not stat.S_ISREG(item.stat.st_mode):
            yield self._repair(item, "it is not a regular file", _remove)
        elif item.path.name == KEY and item.stat.st_size != KEY_BYTES:
            yield self._repair(item, "it is not a valid key", _remove)
        elif item.stat.st_mode & _ANY_BY_OTHERS:
            yield self._repair(item, "others may read it", _make_private)

    def _check_all(self, found: Iterable[Item]) -> Iterator[Damage]:
        waiting: deque[Future[list[Damage]]] = deque()
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="verify")
        try:
            for item in found:
                if item.place == FILES and not (item.is_folder or item.unexpected):
                    self._listed.add(bytes.fromhex(digest_of(item.path)))
                if not item.is_folder:
                    self.files += 1
                waiting.append(threads.submit(self._check, item))
                if len(waiting) > _QUEUED:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BaseException:
            self._stopped.set()
            raise
        finally:
            threads.shutdown(cancel_futures=True)

    def _check(self, item: Item) -> list[Damage]:
        """The damages of one item, repaired."""
        if item.unexpected:
            return self._repair_if_same(item, item.unexpected, _remove)
        damages = self._check_mode(item)
        if item.is_folder:
            return damages
        if item.path in self._abandoned:
            return self._repair_if_same(item, "it was left incomplete by a crash", _remove)
        try:
            with open_noatime(item.path) as descriptor:
                item = msgspec.structs.replace(item, stat=os.fstat(descriptor))
                reason = self._contents.defect(item, self._read(descriptor))
        except FileNotFoundError:
            return damages
        except OSError as error:
            reason = f"it cannot be read ({os_reason(error)})"
        if not reason:
            return damages
        repair = self._rewrite if item.place == PROJECTS else _remove
        found = self._repair_if_same(item, reason, repair)
        if found and item.place == FILES:
            self._damaged.add(bytes.fromhex(digest_of(item.path)))
        return [*damages, *found]

    def _check_mode(self, item: Item) -> list[Damage]:
        """The damage if its owner cannot use it, or others may change it or read project names."""
        needed = 0o700 if item.is_folder else 0o400
        if item.stat.st_mode & needed != needed:
            return self._repair_if_same(item, "its owner cannot use it", _open_to_owner)
        if item.path.parent == self._folder and item.stat.st_mode & _ANY_BY_OTHERS:
            return self._repair_if_same(item, "others may read it", _make_private)
        if self._exposed and item.stat.st_mode & _WRITE_BY_OTHERS:
            return self._repair_if_same(item, "others may write to it", _write_protect)
        return []

    def _read(self, descriptor: int) -> Iterator[bytes]:
        for chunk in iter_chunks(descriptor):
            if self._stopped.is_set():
                raise InterruptedError
            yield chunk
            self._advance(len(chunk))

    def _is_cached(self, sha256: str) -> bool:
        """Whether the cache has, or had when the files were listed, a valid file of that digest."""
        digest = bytes.fromhex(sha256)
        if digest in self._damaged:
            return not self._dry_run and self._disk.files.exists(sha256)
        return digest in self._listed or self._disk.files.exists(sha256)

    def _repair_if_same(
        self, item: Item, reason: str, repair: Callable[[Item], str]
    ) -> list[Damage]:
        """The damage, unless another process has removed or replaced the item since."""
        if self._stopped.is_set() or not _is_same(item):
            return []
        return [self._repair(item, reason, repair)]

    def _repair(self, item: Item, reason: str, repair: Callable[[Item], str]) -> Damage:
        if self._dry_run:
            return Damage(path=item.path, reason=reason)
        try:
            return Damage(path=item.path, reason=reason, repair=repair(item))
        except FileNotFoundError:  # a server was faster
            return Damage(path=item.path, reason=reason, repair="removed")
        except OSError as error:
            return Damage(path=item.path, reason=reason, failure=os_reason(error))

    def _rewrite(self, item: Item) -> str:
        """Retain the valid lines of a project record; none if no file of it is cached."""
        records = self._disk.cached_projects
        is_useful = any(map(self._is_cached, records.digests_of(item.path.name)))
        return records.retain(item.path.name, lambda _: is_useful) or "corrected"


def bytes_to_read(disk: CacheFolder) -> int:
    """About how many bytes a `Verification` will read."""
    found = (item for place in VALID_NAMES for item in items(disk.folder, place))
    return sum(item.stat.st_size for item in found if not (item.is_folder or item.unexpected))


def _is_same(item: Item) -> bool:
    try:
        now = item.path.lstat()
    except OSError:
        return False
    before = item.stat
    if item.is_folder:
        return now.st_ino == before.st_ino
    return (now.st_ino, now.st_size, now.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )


def _remove(item: Item) -> str:
    if item.is_folder:
        shutil.rmtree(item.path)
    else:
        item.path.unlink()
    return "removed"


def _open_to_owner(item: Item) -> str:
    item.path.chmod(stat.S_IMODE(item.stat.st_mode) | (0o700 if item.is_folder else 0o600))
    return "permissions corrected"


def _make_private(item: Item) -> str:
    item.path.chmod(stat.S_IMODE(item.stat.st_mode) & ~_ANY_BY_OTHERS)
    return "permissions corrected"


def _write_protect(item: Item) -> str:
    item.path.chmod(stat.S_IMODE(item.stat.st_mode) & ~_WRITE_BY_OTHERS)
    return "permissions corrected"
