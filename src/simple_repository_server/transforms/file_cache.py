"""Files of a source kept on disk, so that nothing is fetched twice."""

from typing_extensions import override

from simple_repository_server.cache.files import FileCache
from simple_repository_server.model import NO_CONTEXT, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import Resource


class FileCacheRepository(RepositoryContainer):
    """Keeps the files of `source` that are read through here in `cache`.

    What is offered remains the source's decision: a file its page does not show is not served,
    though it may lie in the cache.
    """

    def __init__(self, source: Repository, cache: FileCache) -> None:
        super().__init__(source)
        self._cache = cache

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        resource = await self.source.get_resource(project, filename, context=context)
        if filename.is_metadata or resource.identity is None:
            return resource
        return await self._cache.resource(resource, filename)

    @override
    async def _open(self) -> None:
        await self._cache.__aenter__()
        await super()._open()

    @override
    async def _close(self) -> None:
        await super()._close()
        await self._cache.__aexit__()
