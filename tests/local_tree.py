"""What the tests of local directories share."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from simple_repository_server import FileName, LocalRepository, ProjectName
from simple_repository_server.errors import NotFound, SourceUnavailable
from simple_repository_server.model import File
from simple_repository_server.observe.events import Event, FileSkipped
from simple_repository_server.testing.distributions import Built

T = TypeVar("T")
FOO = ProjectName("foo")


def put(folder: Path, built: Built, name: str | None = None) -> Path:
    """Write the distribution into the folder, under its own name or another one."""
    path = folder / (name or built.filename)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(built.content)
    return path


def beside(path: Path, metadata: bytes) -> Path:
    """Write a metadata file beside the distribution."""
    sidecar = path.with_name(f"{path.name}.metadata")
    sidecar.write_bytes(metadata)
    return sidecar


async def soon(condition: Callable[[], Awaitable[T]]) -> T:
    """The result of the condition once it is true: within a second, and a little more."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            if result := await condition():
                return result
        except (NotFound, SourceUnavailable):
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("it was not seen within a second")


async def file_of(repository: LocalRepository, filename: str) -> File:
    """The file of that name on the page of foo."""
    file = (await repository.get_project_page(FOO)).find(filename)
    assert file is not None
    return file


async def content_of(repository: LocalRepository, filename: str) -> bytes:
    """The bytes of a file of foo, or of its metadata."""
    resource = await repository.get_resource(FOO, FileName(filename))
    async with resource.open() as body:
        return b"".join([chunk async for chunk in body.chunks])


def skipped(events: list[Event]) -> list[tuple[str, str]]:
    """The names and reasons of the files that were said not to be served."""
    return [(Path(e.file).name, e.reason) for e in events if isinstance(e, FileSkipped)]
