"""A file that is opened is the one that was looked at, and nothing in its place holds anyone up."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.resource import PathResource

pytestmark = pytest.mark.anyio

CONTENT = b"what was looked at"


def _resource(path: Path, *, with_inode: bool = True) -> PathResource:
    state = path.stat()
    inode = state.st_ino if with_inode else None
    return PathResource(path, size=state.st_size, mtime_ns=state.st_mtime_ns, inode=inode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _same_but_inode(path: Path) -> None:
    """Another file of the same size and time."""
    state = path.stat()
    other = path.with_name("other")
    other.write_bytes(bytes(len(CONTENT)))
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.rename(path)


def _link_to_another(path: Path) -> None:
    target = path.with_name("target")
    path.rename(target)
    _same_but_inode(target)
    path.symlink_to(target)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path.with_name("fifo"))
    path.symlink_to(path.with_name("fifo"))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _longer(path: Path) -> None:
    path.write_bytes(CONTENT + b"!")


def _touched(path: Path) -> None:
    os.utime(path, (1, 1))


@pytest.mark.parametrize(
    "change",
    [
        _same_but_inode,
        _link_to_another,
        _fifo,
        _link_to_fifo,
        _folder,
        _longer,
        _touched,
        Path.unlink,
    ],
)
async def test_another_file_is_refused_at_once(path: Path, change: Callable[[Path], None]) -> None:
    """What took the place of the file is not opened, by neither way, and nobody waits for it."""
    resource = _resource(path)
    change(path)
    before = _open_files()
    with pytest.raises(SourceUnavailable):
        resource.open_checked()
    with pytest.raises(SourceUnavailable):
        async with resource.open():
            pass
    assert _open_files() == before


async def test_the_file_that_was_looked_at_is_opened(path: Path) -> None:
    """The descriptor is of the file, whatever is at its path afterwards, and not inherited."""
    for resource in (_resource(path), _resource(path, with_inode=False)):
        with resource.open_checked() as file:
            assert not os.get_inheritable(file.fileno())
            assert os.pread(file.fileno(), 100, 0) == CONTENT
        async with resource.open() as body:
            assert b"".join([chunk async for chunk in body.chunks]) == CONTENT
    with _resource(path).open_checked() as file:
        path.unlink()
        assert file.read() == CONTENT


def test_without_an_inode_size_and_time_decide(path: Path) -> None:
    """Who does not know the inode is not refused for it."""
    resource = _resource(path, with_inode=False)
    _same_but_inode(path)
    with resource.open_checked() as file:
        assert len(file.read()) == len(CONTENT)
