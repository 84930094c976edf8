"""The files of a remote index as resources, and those that were used last retained."""

from simple_repository_server.cache.memory import ENTRY_BYTES, Memory
from simple_repository_server.errors import ResourceNotFound
from simple_repository_server.model import File, ProjectPage
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.upstream.client import UpstreamClient
from simple_repository_server.upstream.resource import RemoteResource

#: What a resource takes beside its URL, which it holds three times.
_RESOURCE_BYTES = 1000


class RemoteFiles:
    """The files that pages list, fetched by `client` from the source of that name.

    `direct`: clients may fetch them from their own addresses. The resources that were used last
    are retained in `memory`.
    """

    def __init__(
        self,
        client: UpstreamClient,
        source: str,
        *,
        direct: bool,
        memory: Memory[tuple[str, str], tuple[File, RemoteResource]],
    ) -> None:
        self._client = client
        self._source = source
        self._direct = direct
        self._resources = memory

    def find(self, page: ProjectPage, project: ProjectName, filename: FileName) -> RemoteResource:
        """The file, or its metadata (PEP 658). Raises `ResourceNotFound` if `page` lists neither.

        The same object as long as the page lists the same `File`.
        """
        file = page.find(filename)
        is_metadata = file is None
        if file is None:
            file = page.find(filename.distribution)
            if file is None or not file.core_metadata:
                raise ResourceNotFound(project, filename)
        known = self._resources.get((project, filename))
        if known is not None and known[0] is file:
            return known[1]
        resource = self._resource(file, project, filename, is_metadata=is_metadata)
        weight = ENTRY_BYTES + _RESOURCE_BYTES + 3 * len(file.url)
        self._resources.put((project, filename), (file, resource), weight)
        return resource

    def _resource(
        self, file: File, project: ProjectName, filename: FileName, *, is_metadata: bool
    ) -> RemoteResource:
        url, size, hashes = file.url, file.size, file.hashes
        if is_metadata:
            # PEP 658: the suffix belongs to the path, so before a query.
            path, question, query = file.url.partition("?")
            url, size = f"{path}.metadata{question}{query}", None
            hashes = {} if isinstance(file.core_metadata, bool) else file.core_metadata
        return RemoteResource(
            self._client,
            url,
            project=project,
            filename=filename,
            size=size,
            hashes=hashes,
            direct=self._direct,
            source=self._source,
        )
