"""Pages with fewer fields, or with private ones of the operator; their files are unchanged."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec
from typing_extensions import override

from simple_repository_server.cache.snapshots import SnapshotMemo
from simple_repository_server.explanation import Explanation
from simple_repository_server.model import (
    NO_CONTEXT,
    NOTHING,
    File,
    ProjectList,
    ProjectPage,
    RequestContext,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import Resource
from simple_repository_server.threads import in_thread_if

#: Pages of more files than this are changed in a thread.
_CHANGE_HERE_FILES = 2_000


class PageField(StrEnum):
    """A part of a page that installers can do without."""

    SIZE = "size"
    UPLOAD_TIME = "upload-time"
    PROVENANCE = "provenance"
    #: Yanked files stay yanked.
    YANK_REASON = "yank-reason"
    #: The status stays.
    STATUS_REASON = "status-reason"
    SERIAL = "serial"
    #: Keys with a leading underscore, of the page and of files.
    PRIVATE = "private"


class _ChangedPages(RepositoryContainer):
    """A repository whose pages are changed, but not which projects and files it has."""

    def __init__(self, source: Repository) -> None:
        super().__init__(source)
        self._changed = SnapshotMemo(self._shown)

    @abstractmethod
    def _shown(self, page: ProjectPage) -> ProjectPage:
        """The page as it is shown; must be fast or for at most as many files as a page has."""

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        page = await self.source.get_project_page(project, context=context)
        is_large = len(page.files) > _CHANGE_HERE_FILES and self._changed.peek(page) is None
        await in_thread_if(is_large, self._changed, page)
        return self._changed(page)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        return await self.source.get_resource(project, filename, context=context)

    @override
    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        return await self.source.explain(project, version, context=context)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return self.source.peek_project_list(context=context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        page = self.source.peek_project_page(project, context=context)
        return None if page is None else self._changed.peek(page)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        return self.source.peek_resource(project, filename, context=context)


class StrippedFieldsRepository(_ChangedPages):
    """The pages of another repository without the fields that clients do not need.

    `fields` are those of `PageField`, by default all; as texts they are spelt as on a page
    (`upload-time`). Names, digests, core metadata, Requires-Python, yanked files and the status
    cannot be left out, because installers choose and verify files by them. Rules that need a field
    (a minimum age needs upload times) must be inside, nearer to the source.

    Raises `ValueError` for a text that is no field.
    """

    def __init__(self, source: Repository, *, fields: Iterable[str] = tuple(PageField)) -> None:
        self._fields = frozenset(map(PageField, fields))
        super().__init__(source)

    @override
    def _shown(self, page: ProjectPage) -> ProjectPage:
        fields = self._fields
        files = tuple(_stripped(file, fields) for file in page.files)
        changes: dict[str, object] = {}
        if any(after is not before for after, before in zip(files, page.files, strict=True)):
            changes["files"] = files
        if PageField.SERIAL in fields and page.serial is not None:
            changes["serial"] = None
        if PageField.PRIVATE in fields and page.private:
            changes["private"] = NOTHING
        status = page.status
        if PageField.STATUS_REASON in fields and status is not None and status.reason:
            changes["status"] = msgspec.structs.replace(status, reason=None)
        return msgspec.structs.replace(page, **changes) if changes else page


def _stripped(file: File, fields: frozenset[PageField]) -> File:
    """The file without these fields; itself if it has none of them."""
    changes: dict[str, object] = {}
    if PageField.SIZE in fields and file.size is not None:
        changes["size"] = None
    if PageField.UPLOAD_TIME in fields and file.upload_time is not None:
        changes["upload_time"] = None
    if PageField.PROVENANCE in fields and file.provenance is not None:
        changes["provenance"] = None
    if PageField.YANK_REASON in fields and isinstance(file.yanked, str):
        changes["yanked"] = True
    if PageField.PRIVATE in fields and file.private:
        changes["private"] = NOTHING
    return msgspec.structs.replace(file, **changes) if changes else file


class PrivateMetadataRepository(_ChangedPages):
    """The pages of another repository with private keys of the operator (PEP 700).

    `private` are JSON values by names with a leading underscore, added to those a page has, of
    which they replace the same names. Raises `ValueError` for another name, and `TypeError` for a
    value that is not JSON.
    """

    def __init__(self, source: Repository, *, private: Mapping[str, object]) -> None:
        for name in private:
            if not name.startswith("_"):
                raise ValueError(f"The private key {name!r} must begin with an underscore.")
        copied: dict[str, object] = msgspec.json.decode(msgspec.json.encode(dict(private)))
        self._private = MappingProxyType(copied)
        super().__init__(source)

    @override
    def _shown(self, page: ProjectPage) -> ProjectPage:
        return msgspec.structs.replace(page, private={**page.private, **self._private})
