"""Projects held in memory: for tests, for embedding, and as the shortest example of a source."""

from collections.abc import Mapping
from hashlib import sha256

import msgspec
from typing_extensions import override

from simple_repository_server.distributions.filenames import parse_distribution, versions_of
from simple_repository_server.errors import InvalidName, ProjectNotFound, ResourceNotFound
from simple_repository_server.model import (
    NO_CONTEXT,
    File,
    ProjectList,
    ProjectPage,
    RequestContext,
    SourceState,
)
from simple_repository_server.names import FileName, ProjectName, sorted_unique
from simple_repository_server.repository import Repository
from simple_repository_server.resource import METADATA_TYPE, BytesResource, Resource


class MemoryRepository(Repository):
    """Pages given as they are, with the bytes of their files (and `<file>.metadata`) by name."""

    def __init__(
        self,
        pages: Mapping[ProjectName, ProjectPage] | None = None,
        contents: Mapping[str, bytes] | None = None,
        *,
        label: str = "memory",
    ) -> None:
        self.label = label
        self._pages = dict(pages or {})
        self._contents = dict(contents or {})
        self._list: ProjectList | None = None

    def add(self, filename: str, content: bytes, *, metadata: bytes | None = None) -> File:
        """Add a distribution file to the page of its project, which the file name tells.

        Raises `InvalidName` for a name that tells no project.
        """
        found = parse_distribution(filename)
        if found is None:
            raise InvalidName("distribution file", filename)
        file = File(
            filename=FileName(filename),
            url=f"memory:{filename}",
            hashes={"sha256": sha256(content).hexdigest()},
            size=len(content),
            core_metadata={"sha256": sha256(metadata).hexdigest()} if metadata else False,
        )
        self._contents[filename] = content
        if metadata:
            self._contents[f"{filename}.metadata"] = metadata
        before = self._pages.get(found.project)
        files = tuple(f for f in before.files if f.filename != filename) if before else ()
        versions = versions_of([*(f.filename for f in files), filename], found.project)
        page = before or ProjectPage(name=found.project, files=())
        self._pages[found.project] = msgspec.structs.replace(
            page, files=(*files, file), versions=versions
        )
        self._list = None
        return file

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        if self._list is None:
            self._list = ProjectList(names=sorted_unique(self._pages))
        return self._list

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        try:
            return self._pages[project]
        except KeyError:
            raise ProjectNotFound(project) from None

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        page = await self.get_project_page(project, context=context)
        content = self._contents.get(filename)
        file = page.find(filename)
        if file is not None and content is not None:
            return BytesResource(content, sha256=file.hashes.get("sha256"))
        file = page.find(filename.described)
        if file is None or not file.core_metadata or content is None:
            raise ResourceNotFound(project, filename)
        return BytesResource(content, media_type=METADATA_TYPE, sha256=sha256(content).hexdigest())

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        return (SourceState(label=self.label, kind="memory", available=True),)
