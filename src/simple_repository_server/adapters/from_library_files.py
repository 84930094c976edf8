"""Resources of the library as ours: their bytes are what the page states, or are not sent."""

import asyncio
import hashlib
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from simple_repository import model

from simple_repository_server.adapters.library_calls import CarriedResource
from simple_repository_server.cache.memory import ENTRY_BYTES, MemoryCache
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import SourceInvalid, SourceUnavailable, os_reason
from simple_repository_server.model import File
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.opening import open_regular, wait_for_tick
from simple_repository_server.resource import (
    METADATA_TYPE,
    OCTET_STREAM,
    BytesResource,
    FileKey,
    PathResource,
    Resource,
)
from simple_repository_server.upstream.client import UpstreamClient
from simple_repository_server.upstream.headers import strong_tag_in
from simple_repository_server.upstream.resource import RemoteResource
from simple_repository_server.wire.urls import parse_http

_READ_BYTES = 1024 * 1024
#: For the identities of local files that were verified: some thousands.
_VERIFIED_BYTES = 4 * 1024 * 1024

#: An algorithm and the digest.
Digest = tuple[str, str]


class LibraryFiles:
    """The resources of one component, as the `File` of its page describes them.

    `client` fetches remote ones. `direct`: clients may fetch them from their own addresses.
    """

    def __init__(self, client: UpstreamClient, *, direct: bool) -> None:
        self._client = client
        self._label = client.label
        self._direct = direct
        self._verified: MemoryCache[tuple[FileKey, Digest], bool] = MemoryCache(_VERIFIED_BYTES)
        self._verifying: SingleFlight[tuple[FileKey, Digest], None] = SingleFlight()

    async def close(self) -> None:
        """End the work in flight."""
        await self._verifying.cancel_all()

    async def resource(
        self, theirs: object, file: File, project: ProjectName, filename: FileName
    ) -> Resource:
        """The file, or its metadata. Raises `SourceUnavailable` if it is not what it should be."""
        size, hashes = file.size, file.hashes
        if filename != file.filename:
            size = None
            hashes = {} if isinstance(file.core_metadata, bool) else file.core_metadata
        if isinstance(theirs, model.TextResource):
            return self._text(theirs, filename, size, hashes, is_file=filename == file.filename)
        if isinstance(theirs, model.LocalResource):
            found = await self._local(theirs, filename, size, hashes)
            if filename != file.filename:
                found.media_type = METADATA_TYPE
            return found
        if isinstance(theirs, CarriedResource) and theirs.ours and theirs.ours.hashes == hashes:
            return theirs.ours
        if isinstance(theirs, model.HttpResource):
            return self._remote(theirs, project, filename, size, hashes)
        raise self._invalid(f"it returned {type(theirs).__name__} for {filename}")

    def _text(
        self,
        theirs: model.TextResource,
        filename: FileName,
        size: int | None,
        hashes: Mapping[str, str],
        *,
        is_file: bool,
    ) -> Resource:
        content = theirs.text.encode()
        self._check_size(filename, size, len(content))
        for name, digest in hashes.items():
            if hashlib.new(name, content, usedforsecurity=False).hexdigest() != digest:
                raise self._differs(filename, name)
        return BytesResource(
            content,
            media_type=OCTET_STREAM if is_file else METADATA_TYPE,
            sha256=hashlib.sha256(content).hexdigest(),
            may_change=not hashes,
        )

    def _remote(
        self,
        theirs: model.HttpResource,
        project: ProjectName,
        filename: FileName,
        size: int | None,
        hashes: Mapping[str, str],
    ) -> Resource:
        try:
            address = parse_http(theirs.url)
        except ValueError as error:
            raise self._invalid(f"the address of {filename} is {error}") from error
        resource = RemoteResource(
            self._client,
            address.bare,
            project=project,
            filename=filename,
            size=size,
            hashes=hashes,
            direct=self._direct and address.userinfo is None,
            validator=None if hashes else _tag_of(theirs),
        )
        resource.may_change = not hashes
        if not theirs.to_cache:
            resource.cache_key = None
        return resource

    async def _local(
        self,
        theirs: model.LocalResource,
        filename: FileName,
        size: int | None,
        hashes: Mapping[str, str],
    ) -> Resource:
        path = Path(theirs.path)
        try:
            key = await asyncio.to_thread(_key_of, path)
            self._check_size(filename, size, key.size)
            for digest in list(hashes.items())[:1]:
                if self._verified.get((key, digest)) is None:
                    work = partial(self._verify, key, digest, filename)
                    await self._verifying.run((key, digest), work)
        except OSError as error:
            reason = f"{filename} cannot be read ({os_reason(error)})"
            raise SourceUnavailable(self._label, reason) from error
        resource = PathResource(
            path,
            size=key.size,
            mtime_ns=key.mtime_ns,
            inode=key.inode,
            sha256=hashes.get("sha256"),
        )
        resource.validator = None if resource.sha256 else _tag_of(theirs)
        resource.may_change = not hashes
        return resource

    async def _verify(self, key: FileKey, digest: Digest, filename: FileName) -> None:
        """Read the file once; later its identity is enough, and only that is sent."""
        found = await asyncio.to_thread(_digest_of, key, digest[0])
        if found is None:
            raise SourceUnavailable(self._label, f"{filename} was changed while it was read")
        if found != digest[1]:
            raise self._differs(filename, digest[0])
        self._verified.put((key, digest), True, ENTRY_BYTES + len(key.path))

    def _check_size(self, filename: FileName, expected: int | None, found: int) -> None:
        if expected is not None and found != expected:
            raise self._invalid(f"{filename} has {found} bytes, its page says {expected}")

    def _differs(self, filename: FileName, algorithm: str) -> SourceInvalid:
        return self._invalid(f"{filename} does not have the {algorithm} digest of its page")

    def _invalid(self, reason: str) -> SourceInvalid:
        return SourceInvalid(self._label, reason)


def _tag_of(theirs: model.Resource) -> str | None:
    """The entity tag of the component, if it is a strong one."""
    tag = theirs.context.get("etag")
    return strong_tag_in({"ETag": tag}) if isinstance(tag, str) else None


def _key_of(path: Path) -> FileKey:
    with open_regular(str(path)) as file:
        return _identity(path, os.fstat(file.fileno()))


def _identity(path: Path, state: os.stat_result) -> FileKey:
    return FileKey(str(path), state.st_ino, state.st_size, state.st_mtime_ns)


def _digest_of(key: FileKey, algorithm: str) -> str | None:
    """The digest of the file; None if it is, or becomes, another one than that of the key."""
    wait_for_tick(key.mtime_ns)
    with open_regular(key.path) as file:
        digest = hashlib.new(algorithm, usedforsecurity=False)
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
        if _identity(Path(key.path), os.fstat(file.fileno())) != key:
            return None
    return digest.hexdigest()
