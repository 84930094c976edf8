"""What the folder of a cache looks like, whether it is ours, and how it becomes ours.

Our tag decides. A folder without it is never written into and nothing in it is removed, unless it
is empty or absent: then it gets the tag before anything else.
"""

import contextlib
import os
import stat
from errno import EEXIST, ENOSPC, ENOTDIR
from pathlib import Path
from tempfile import mkdtemp

from simple_repository_server.disk.noatime import opened

#: How much a cache keeps if nobody says: 10 GB.
DEFAULT_MAX_BYTES = 10 * 1000**3
#: What is evicted when it was not used for longest.
KINDS = ("files", "pages", "metadata", "links")
SERVED, PARTIAL, LOCK, TAG = "served", "partial", "lock", "CACHEDIR.TAG"
#: The folders right below that of the cache.
PARTS = (*KINDS, SERVED, PARTIAL)
#: What tells passwords apart, and which projects were refreshed by hand.
KEY, CHANGES = "key", "changes"
#: All that belongs there.
OURS = frozenset({*PARTS, LOCK, TAG, KEY, CHANGES})
TAG_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder is a cache of simple-repository-server: backups may leave it out.\n"
)

NOT_OURS = "is not empty, and no cache of simple-repository-server"
_PRIVATE = 0o700
_TAG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ForeignFolder(OSError):
    """The folder has things of others in it, and no tag of ours."""

    def __init__(self, folder: Path) -> None:
        super().__init__(EEXIST, f"it {NOT_OURS}", str(folder))


def may_be_cache(folder: Path) -> bool:
    """Whether we may keep things there, and remove them: it is our cache, or empty, or absent."""
    try:
        return _is_empty_or_ours(folder)
    except OSError:
        return True  # not there yet, or of no use, which will be told when it is to be used


def _is_empty_or_ours(folder: Path) -> bool:
    """As `may_be_cache`; raises `OSError` where that cannot be seen."""
    names = {entry.name for entry in os.scandir(folder)}
    # Looked at after the names: whoever makes a cache writes the tag before anything else.
    if has_tag(folder):
        return True
    # A process that died while it wrote the tag leaves the beginning of one.
    return names <= {TAG} and TAG_TEXT.startswith(_read_tag(folder))


def has_tag(folder: Path) -> bool:
    """Whether the folder says that it is a cache of ours."""
    return _read_tag(folder).strip() == TAG_TEXT.strip()


def check_tag(folder: Path) -> None:
    """Raises `ForeignFolder` unless the folder says that it is a cache of ours."""
    if not has_tag(folder):
        raise ForeignFolder(folder)


def claim(folder: Path) -> None:
    """Make an absent or empty folder a cache of ours; does nothing to one that is.

    Raises `ForeignFolder` for one with other things in it, `OSError` as the disk does.
    """
    if has_tag(folder) or (not folder.exists() and _make(folder)):
        return
    if not _is_empty_or_ours(folder):
        raise ForeignFolder(folder)
    # Two processes may do this at once: both write the same bytes to the same place.
    _write_tag(folder)


def _make(folder: Path) -> bool:
    """Make the folder, with its tag from its first moment; False if somebody was faster.

    Another process that writes to what was there before must never find one without.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_tag(aside)
        with contextlib.suppress(OSError):
            aside.rename(folder)
            return True
    finally:
        with contextlib.suppress(FileNotFoundError):
            (aside / TAG).unlink(missing_ok=True)
            aside.rmdir()
    return has_tag(folder)


def _write_tag(folder: Path) -> None:
    descriptor = os.open(folder / TAG, _TAG_FLAGS, 0o600)
    try:
        if os.pwrite(descriptor, TAG_TEXT.encode(), 0) < len(TAG_TEXT):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
    finally:
        os.close(descriptor)


def close_to_others(folder: Path) -> None:
    """Let nobody else into the folders of a cache: project names are private.

    They were made for all to read once. The folder itself stays as its operator made it.
    """
    for name in PARTS:
        part = folder / name
        with contextlib.suppress(OSError):
            status = part.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o077:
                part.chmod(stat.S_IMODE(status.st_mode) & _PRIVATE)


def make_private(folder: Path, top: Path) -> None:
    """Make `folder` and what is missing above it, but not `top` and nothing by way of a link.

    Raises `OSError`: `FileNotFoundError` where `top` is not there.
    """
    for parent in reversed([folder, *folder.parents]):
        if parent != top and parent.is_relative_to(top):
            try:
                parent.mkdir(mode=_PRIVATE)
            except FileExistsError:
                if not stat.S_ISDIR(parent.lstat().st_mode):
                    reason = os.strerror(ENOTDIR)
                    raise NotADirectoryError(ENOTDIR, reason, str(parent)) from None


def _read_tag(folder: Path) -> str:
    """What is in the file of the tag: nothing if there is none, not ours if it cannot be read."""
    try:
        with opened(folder / TAG) as descriptor:
            return os.read(descriptor, 2 * len(TAG_TEXT)).decode("ascii", "replace")
    except FileNotFoundError:
        return ""
    except OSError:
        return "\0"
