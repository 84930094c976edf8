"""Projects shown under other names than their source has them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec
from typing_extensions import override

from simple_repository_server.cache.snapshots import SnapshotMemo
from simple_repository_server.errors import HiddenByRule, ProjectNotFound, ResourceNotFound
from simple_repository_server.explanation import Answered, Explanation
from simple_repository_server.model import NO_CONTEXT, ProjectList, ProjectPage, RequestContext
from simple_repository_server.names import FileName, ProjectName, sorted_unique
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import Resource
from simple_repository_server.threads import in_thread_if

#: Lists of more names than this are renamed in a thread.
_RENAME_HERE_NAMES = 5_000


class RenamedProjectsRepository(RepositoryContainer):
    """Projects of another repository under other names.

    `names` maps the name under which a project is shown to the name its source has it under. A
    project that is shown under another name is not shown under its own, unless that is mapped, too;
    a project of the source whose name is taken by the mapping is not shown.

    Renamed is the project: in the list, in the name and address of its page, in the addresses of
    its files and in errors. Not renamed are the names of its files, their bytes and their core
    metadata, because digests and installers require that they agree. Installers ignore files that
    are named after another project than their page is, so this is for sources whose pages have
    other names than their files.

    Raises `InvalidName` for what is not the name of a project.
    """

    def __init__(self, source: Repository, *, names: Mapping[str, str]) -> None:
        super().__init__(source)
        self._names = {ProjectName(shown): ProjectName(own) for shown, own in names.items()}
        self._gone = frozenset(self._names.values()) - self._names.keys()
        self._pages = {shown: SnapshotMemo(partial(_renamed, name=shown)) for shown in self._names}
        self._lists = SnapshotMemo(self._rename_list)

    def _own_name(self, shown: ProjectName) -> ProjectName:
        """The name the source has the project under. Raises `ProjectNotFound`."""
        if shown in self._gone:
            raise ProjectNotFound(shown)
        return self._names.get(shown, shown)

    def _rename_list(self, projects: ProjectList) -> ProjectList:
        names, withheld = map(self._shown_names, (projects.names, projects.withheld))
        return msgspec.structs.replace(projects, names=names, withheld=withheld)

    def _shown_names(self, own_names: Sequence[ProjectName]) -> Sequence[ProjectName]:
        present = set(own_names)
        names = [name for name in present if name not in self._gone and name not in self._names]
        names += [shown for shown, own in self._names.items() if own in present]
        return sorted_unique(names)

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        projects = await self.source.get_project_list(context=context)
        is_large = len(projects.names) > _RENAME_HERE_NAMES and self._lists.peek(projects) is None
        await in_thread_if(is_large, self._lists, projects)
        return self._lists(projects)

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        with _errors_name(project):
            own = self._own_name(project)
            page = await self.source.get_project_page(own, context=context)
        rename = self._pages.get(project)
        return page if rename is None else rename(page)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        with _errors_name(project):
            own = self._own_name(project)
            return await self.source.get_resource(own, filename, context=context)

    @override
    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        if project in self._gone:
            return Explanation(
                component=type(self).__name__,
                answered=Answered.ABSENT,
                detail="its source has it, and it is shown under another name",
            )
        own = self._names.get(project, project)
        inner = await self.source.explain(own, version, context=context)
        if own == project:
            return inner
        return Explanation(
            component=type(self).__name__,
            answered=inner.answered,
            detail=f"its source has it as {own!r}",
            files=inner.files,
            freshness=inner.freshness,
            concealed=inner.concealed,
            sources=(inner,),
        )

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        projects = self.source.peek_project_list(context=context)
        return None if projects is None else self._lists.peek(projects)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        with _errors_name(project):
            page = self.source.peek_project_page(self._own_name(project), context=context)
        rename = self._pages.get(project)
        return page if page is None or rename is None else rename.peek(page)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        with _errors_name(project):
            return self.source.peek_resource(self._own_name(project), filename, context=context)


def _renamed(page: ProjectPage, *, name: ProjectName) -> ProjectPage:
    return page if page.name == name else msgspec.structs.replace(page, name=name)


@contextmanager
def _errors_name(project: ProjectName) -> Iterator[None]:
    """What is not found or hidden is reported under the name that the client requested."""
    try:
        yield
    except ProjectNotFound as error:
        if error.project == project:
            raise
        raise ProjectNotFound(project) from error
    except ResourceNotFound as error:
        if error.project == project:
            raise
        raise ResourceNotFound(project, error.filename) from error
    except HiddenByRule as error:
        if error.project == project:
            raise
        raise HiddenByRule(
            project,
            error.filename,
            rule=error.rule,
            reason=str(error),
            concealed=error.concealed,
        ) from error
