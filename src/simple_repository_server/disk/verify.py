"""Reading all of the cache, to find what is damaged and take it away.

What is removed is fetched again when it is wanted. Servers may go on meanwhile: what they remove
or replace while it is looked at is no damage.
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

from simple_repository_server.disk.cached_projects import CachedProjects
from simple_repository_server.disk.contents import (
    PLACES,
    Contents,
    Item,
    digest_of,
    items,
)
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.noatime import chunks, opened
from simple_repository_server.disk.ownership import (
    CHANGES,
    KEY,
    LOCK,
    OURS,
    PARTIAL,
    SERVED,
    check_tag,
)
from simple_repository_server.disk.partial import abandoned
from simple_repository_server.disk.secret_key import KEY_BYTES

_THREADS = 4
#: So many files are handed to the threads ahead of what they have done.
_AHEAD = 64
#: What others may not do to anything, and not to the folders right below: names are private.
_OTHERS_WRITE, _OTHERS = 0o022, 0o077


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not as it has to be."""

    path: Path
    reason: str
    #: What was done about it, as `removed`; empty: nothing, in a dry run.
    repair: str = ""
    #: Why that was not possible; empty if it was.
    failure: str = ""


class Verification:
    """One look at all that is in the cache of `disk`.

    With `dry_run` nothing is changed. `advance` is told of bytes as they are read, by any thread.
    """

    def __init__(
        self,
        disk: CacheFolder,
        *,
        dry_run: bool = False,
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        #: How many files were looked at.
        self.files = 0
        self._disk = disk
        self._dry_run = dry_run
        self._advance = advance
        self._contents = Contents(disk, self._is_here)
        self._listed: set[bytes] = set()
        self._damaged: set[bytes] = set()
        self._stopped = threading.Event()
        self._abandoned: set[Path] = set()
        self._exposed = False

    def run(self) -> Generator[Damage, None, None]:
        """All damage, as it is found. Close it to stop: nothing is left half done.

        Raises `ForeignFolder` in a folder without our tag: nothing there is damage.
        """
        check_tag(self._folder)
        yield from self._root()
        self._abandoned = {
            path for path, _ in abandoned(self._folder / PARTIAL, self._disk.clock())
        }
        for place in PLACES:
            # One after the other: what is noted of files is looked at when those are known.
            yield from self._of_all(items(self._folder, place))

    def foreign(self) -> list[str]:
        """Names in the folder that are not of the cache: they are left alone."""
        return sorted({path.name for path in self._folder.iterdir()} - OURS)

    @property
    def _folder(self) -> Path:
        return self._disk.folder

    def _root(self) -> Iterator[Damage]:
        root = Item("", self._folder, self._folder.stat())
        self._exposed = bool(root.stat.st_mode & 0o011)
        if root.stat.st_mode & _OTHERS_WRITE:
            yield self._repaired(root, "others may write to it", _write_protect)
        for name in (LOCK, KEY, CHANGES):
            path = self._folder / name
            with contextlib.suppress(FileNotFoundError):
                yield from self._of_root(Item("", path, path.lstat()))

    def _of_root(self, item: Item) -> Iterator[Damage]:
        if not stat.S_ISREG(item.stat.st_mode):
            yield self._repaired(item, "it is no file", _remove)
        elif item.path.name == KEY and item.stat.st_size != KEY_BYTES:
            yield self._repaired(item, "it is no key", _remove)
        elif item.stat.st_mode & _OTHERS:
            yield self._repaired(item, "it is open to others", _close_to_others)

    def _of_all(self, found: Iterable[Item]) -> Iterator[Damage]:
        waiting: deque[Future[list[Damage]]] = deque()
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="verify")
        try:
            for item in found:
                if item.place == "files" and not (item.is_folder or item.strange):
                    self._listed.add(bytes.fromhex(digest_of(item)))
                if not item.is_folder:
                    self.files += 1
                waiting.append(threads.submit(self._check, item))
                if len(waiting) > _AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BaseException:
            self._stopped.set()
            raise
        finally:
            threads.shutdown(cancel_futures=True)

    def _check(self, item: Item) -> list[Damage]:
        """What is wrong with the item, repaired."""
        if item.strange:
            return self._if_still(item, item.strange, _remove)
        damages = self._check_mode(item)
        if item.is_folder:
            return damages
        if item.path in self._abandoned:
            return self._if_still(item, "it was never completed", _remove)
        try:
            with opened(item.path) as descriptor:
                item = msgspec.structs.replace(item, stat=os.fstat(descriptor))
                reason = self._contents.wrong(item, self._read(descriptor))
        except FileNotFoundError:
            return damages
        except OSError as error:
            reason = f"it cannot be read ({(error.strerror or 'error').lower()})"
        if not reason:
            return damages
        repair = self._rewrite if item.place == SERVED else _remove
        found = self._if_still(item, reason, repair)
        if found and item.place == "files":
            self._damaged.add(bytes.fromhex(digest_of(item)))
        return [*damages, *found]

    def _check_mode(self, item: Item) -> list[Damage]:
        """Whether its owner may use it, nobody else may change it, or list what is private."""
        needed = 0o700 if item.is_folder else 0o400
        if item.stat.st_mode & needed != needed:
            return self._if_still(item, "its owner may not use it", _open_to_owner)
        if item.path.parent == self._folder and item.stat.st_mode & _OTHERS:
            return self._if_still(item, "it is open to others", _close_to_others)
        if self._exposed and item.stat.st_mode & _OTHERS_WRITE:
            return self._if_still(item, "others may write to it", _write_protect)
        return []

    def _read(self, descriptor: int) -> Iterator[bytes]:
        for chunk in chunks(descriptor):
            if self._stopped.is_set():
                raise InterruptedError
            yield chunk
            self._advance(len(chunk))

    def _is_here(self, sha256: str) -> bool:
        """Whether there is a sound file of that digest, or was when it was looked for."""
        digest = bytes.fromhex(sha256)
        if digest in self._damaged:
            return not self._dry_run and self._disk.files.path(sha256).exists()
        return digest in self._listed or self._disk.files.path(sha256).exists()

    def _if_still(self, item: Item, reason: str, repair: Callable[[Item], str]) -> list[Damage]:
        """The damage, unless it is another thing by now, or none."""
        if self._stopped.is_set() or not _is_still(item):
            return []
        return [self._repaired(item, reason, repair)]

    def _repaired(self, item: Item, reason: str, repair: Callable[[Item], str]) -> Damage:
        if self._dry_run:
            return Damage(path=item.path, reason=reason)
        try:
            return Damage(path=item.path, reason=reason, repair=repair(item))
        except FileNotFoundError:  # a server has found it as well
            return Damage(path=item.path, reason=reason, repair="removed")
        except OSError as error:
            failure = (error.strerror or "error").lower()
            return Damage(path=item.path, reason=reason, failure=failure)

    def _rewrite(self, item: Item) -> str:
        """Keep what is sound of a note; nothing of one that leads to no file."""
        lines = CachedProjects(self._disk.served)
        is_of_use = any(map(self._is_here, lines.of(item.path.name)))
        return lines.keep(item.path.name, lambda _: is_of_use) or "corrected"


def bytes_to_read(disk: CacheFolder) -> int:
    """How much a `Verification` will have read at its end, about."""
    found = (item for place in PLACES for item in items(disk.folder, place))
    return sum(item.stat.st_size for item in found if not (item.is_folder or item.strange))


def _is_still(item: Item) -> bool:
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


def _close_to_others(item: Item) -> str:
    item.path.chmod(stat.S_IMODE(item.stat.st_mode) & ~_OTHERS)
    return "permissions corrected"


def _write_protect(item: Item) -> str:
    item.path.chmod(stat.S_IMODE(item.stat.st_mode) & ~_OTHERS_WRITE)
    return "permissions corrected"
