"""Whose a folder is: whether it is a cache of ours, and how it becomes one.

The tag decides. A folder without it is never written to and nothing in it is removed, unless it
is empty or absent: then it gets the tag before anything else.
"""

import contextlib
import os
import stat
from errno import EEXIST, ENOSPC, ENOTDIR
from pathlib import Path
from tempfile import mkdtemp

from simple_repository_server.disk.layout import FOLDERS, TAG
from simple_repository_server.disk.noatime import open_noatime

TAG_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder is a cache of simple-repository-server: backups may leave it out.\n"
)

NOT_OURS = "is not empty and is not a simple-repository-server cache"
_PRIVATE = 0o700
_TAG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ForeignFolder(OSError):
    """The folder holds files, and lacks our tag."""

    def __init__(self, folder: Path) -> None:
        super().__init__(EEXIST, f"it {NOT_OURS}", str(folder))


def may_be_cache(folder: Path) -> bool:
    """Whether files may be written there and removed: it is our cache, or empty, or absent."""
    try:
        return _is_empty_or_ours(folder)
    except OSError:
        return True  # absent, or unusable, which is reported when it is used


def _is_empty_or_ours(folder: Path) -> bool:
    """As `may_be_cache`. Raises `OSError` where the folder cannot be listed."""
    names = {entry.name for entry in os.scandir(folder)}
    # Read after the names: a process that creates a cache writes the tag before anything else.
    if has_tag(folder):
        return True
    # A process that is killed while it writes the tag leaves a truncated one.
    return names <= {TAG} and TAG_TEXT.startswith(_read_tag(folder))


def has_tag(folder: Path) -> bool:
    """Whether the folder has our tag."""
    return _read_tag(folder).strip() == TAG_TEXT.strip()


def check_tag(folder: Path) -> None:
    """Raises `ForeignFolder` unless the folder has our tag."""
    if not has_tag(folder):
        raise ForeignFolder(folder)


def claim(folder: Path) -> None:
    """Make an absent or empty folder a cache of ours; does nothing if it is one already.

    Raises `ForeignFolder` if it holds anything else, `OSError` if it cannot be written.
    """
    if has_tag(folder) or (not folder.exists() and _create_tagged(folder)):
        return
    if not _is_empty_or_ours(folder):
        raise ForeignFolder(folder)
    # Two processes may do this at once: both write the same bytes at the same position.
    _write_tag(folder)


def _create_tagged(folder: Path) -> bool:
    """Create the folder with its tag, by an atomic rename; False if another process was faster.

    A process that still writes to a cache that was just deleted must never find it untagged.
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


def make_folders_private(folder: Path) -> None:
    """Take the folders of a cache from group and others: project names are private.

    Earlier versions created them readable. The mode of the cache folder is up to its operator.
    """
    for name in FOLDERS:
        path = folder / name
        with contextlib.suppress(OSError):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o077:
                path.chmod(stat.S_IMODE(status.st_mode) & _PRIVATE)


def create_private(folder: Path, top: Path) -> None:
    """Create `folder` and its missing parents below `top`, for the owner only.

    Symbolic links below `top` are not followed. Raises `OSError`: `FileNotFoundError` where `top`
    does not exist, `NotADirectoryError` where a link or a file is in the way.
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
    """The text of the tag: empty if there is none, and not ours if it cannot be read."""
    try:
        with open_noatime(folder / TAG) as descriptor:
            return os.read(descriptor, 2 * len(TAG_TEXT)).decode("ascii", "replace")
    except FileNotFoundError:
        return ""
    except OSError:
        return "\0"
