"""Files without a path are received into a temporary folder, for those who need a path."""

import asyncio
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

from typing_extensions import override

from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import SourceUnavailable, os_reason
from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.resource import Resource

_LABEL = "temporary folder"
#: The digest and the name of a file, or a number for one without a digest.
_Key = tuple[str, str]


class Spool(SharedLifespan):
    """A temporary folder of at most `max_bytes`, from which the files unused for longest go."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._folder: Path | None = None
        self._files: OrderedDict[_Key, tuple[Path, int]] = OrderedDict()
        self._bytes = 0
        self._numbers = count()
        self._flight: SingleFlight[_Key, Path] = SingleFlight()

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        made = await asyncio.to_thread(tempfile.mkdtemp, prefix="simple-repository-server-")
        self._folder = Path(made)
        try:
            yield
        finally:
            await self._flight.cancel_all()
            self._folder = None
            self._files.clear()
            self._bytes = 0
            await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)

    async def path_of(self, resource: Resource, filename: str) -> Path:
        """The path of a file of that name with the bytes of the resource, which were verified.

        Raises as `Resource.open` does, and `SourceUnavailable` if the file cannot be stored.
        """
        digest = resource.sha256
        key = (digest or str(next(self._numbers)), filename)
        known = self._files.get(key) if digest else None
        if known is not None:
            self._files.move_to_end(key)
            return known[0]
        return await self._flight.run(key, partial(self._receive, resource, key))

    async def _receive(self, resource: Resource, key: _Key) -> Path:
        if self._folder is None:
            raise SourceUnavailable(_LABEL, "it is not open; enter the component before its use")
        folder = self._folder / str(next(self._numbers))
        path = folder / key[1]
        try:
            await asyncio.to_thread(folder.mkdir)
            size = await self._write(resource, path)
        except BaseException as error:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise SourceUnavailable(_LABEL, os_reason(error)) from error
            raise
        self._files[key] = path, size
        self._bytes += size
        await self._evict()
        return path

    async def _write(self, resource: Resource, path: Path) -> int:
        partial_path = path.with_name(".partial")
        size = 0
        with await asyncio.to_thread(partial_path.open, "wb") as file:
            async with resource.open() as body:
                async for chunk in body.chunks:
                    size += len(chunk)
                    if size > self._max_bytes:
                        reason = f"{path.name} is larger than its {self._max_bytes} bytes"
                        raise SourceUnavailable(_LABEL, reason)
                    await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(partial_path.replace, path)
        return size

    async def _evict(self) -> None:
        while self._bytes > self._max_bytes:
            _, (path, size) = self._files.popitem(last=False)
            self._bytes -= size
            await asyncio.to_thread(shutil.rmtree, path.parent, ignore_errors=True)
