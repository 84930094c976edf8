"""Projects in memory: for tests, for embedding, and as the shortest example of a source."""

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
from simple_repository_server.resource import METADATA_TYPE, OCTET_STREAM, BytesResource, Resource


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
        self._resources: dict[tuple[str, str, str | None], Resource] = {}

    def add(self, filename: str, content: bytes, *, metadata: bytes | None = None) -> File:
        """Add a distribution file to the page of its project, which is parsed from the file name.

        Raises `InvalidName` for a name without a project and a version.
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
        self._resources.clear()
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
        return self._page(project)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        page = await self.get_project_page(project, context=context)
        return self._resource(page, filename)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return self._list

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        return self._page(project)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        page = self.peek_project_page(project, context=context)
        return None if page is None else self._resource(page, filename)

    def _page(self, project: ProjectName) -> ProjectPage:
        page = self._pages.get(project)
        if page is None:
            raise ProjectNotFound(project)
        return page

    def _resource(self, page: ProjectPage, filename: FileName) -> Resource:
        content = self._contents.get(filename)
        file = page.find(filename)
        if file is not None and content is not None:
            return self._resource_of(filename, content, OCTET_STREAM, file.hashes.get("sha256"))
        file = page.find(filename.distribution)
        if file is None or not file.core_metadata or content is None:
            raise ResourceNotFound(page.name, filename)
        return self._resource_of(filename, content, METADATA_TYPE, None)

    def _resource_of(
        self, filename: FileName, content: bytes, media_type: str, claimed: str | None
    ) -> Resource:
        """The content as a resource, the same one each time. `claimed`: a file's digest."""
        key = filename, media_type, claimed
        known = self._resources.get(key)
        if known is None:
            digest = sha256(content).hexdigest() if media_type is METADATA_TYPE else claimed
            known = BytesResource(content, media_type=media_type, sha256=digest)
            known.source = self.label
            self._resources[key] = known
        return known

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        return (SourceState(label=self.label, kind="memory", available=True),)
