"""A repository as a component of the library."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn
from weakref import WeakKeyDictionary

from simple_repository import SimpleRepository, errors, model
from typing_extensions import override

from simple_repository_server.adapters.library_calls import ETAG, CarriedResource, context_of
from simple_repository_server.adapters.spool import Spool
from simple_repository_server.adapters.to_library_pages import detail_of, hidden_detail, names_of
from simple_repository_server.errors import (
    HiddenByRule,
    InvalidName,
    NotFound,
    ProjectNotFound,
    RepositoryError,
    RuleUnavailable,
    SourceUnavailable,
)
from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.model import FilesMode, ProjectList, ProjectPage, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository
from simple_repository_server.resource import METADATA_TYPE, Resource
from simple_repository_server.threads import in_thread_if

#: Pages and lists with more entries are converted in a thread.
_CONVERT_HERE = 1_000


class HiddenFile(errors.ResourceUnavailable):
    """A file that a rule hides, with the rule's sentence."""

    msg_format = "{resource_name}"


class Refused(errors.InvalidPackageError):
    """An answer that no cache of the library may give in our place, unlike during an outage."""


class ExposedRepository(SharedLifespan, SimpleRepository):
    """A repository as a component of the library: see `to_simple_repository`."""

    def __init__(self, repository: Repository, *, files: FilesMode, spool_bytes: int) -> None:
        self.repository = repository
        self._redirects = files is FilesMode.REDIRECT
        self._spool = Spool(spool_bytes)
        self._details: WeakKeyDictionary[ProjectPage, model.ProjectDetail] = WeakKeyDictionary()
        self._names: WeakKeyDictionary[ProjectList, model.ProjectList] = WeakKeyDictionary()

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with super().lifespan(), self.repository, self._spool:
            yield

    @override
    async def get_project_list(
        self, *, request_context: model.RequestContext | None = None
    ) -> model.ProjectList:
        try:
            ours = await self.repository.get_project_list(context=context_of(request_context))
        except RepositoryError as error:
            raise errors.SourceRepositoryUnavailable(str(error)) from error
        theirs = self._names.get(ours)
        if theirs is None:
            theirs = await in_thread_if(len(ours.names) > _CONVERT_HERE, names_of, ours)
            self._names[ours] = theirs
        return theirs

    @override
    async def get_project_page(
        self, project_name: str, *, request_context: model.RequestContext | None = None
    ) -> model.ProjectDetail:
        try:
            context = context_of(request_context)
            project = ProjectName(project_name)
            ours = await self.repository.get_project_page(project, context=context)
        except NotFound as error:
            raise errors.PackageNotFoundError(project_name) from error
        except HiddenByRule as error:
            return hidden_detail(project_name, "" if error.concealed else str(error))
        except RepositoryError as error:
            raise errors.SourceRepositoryUnavailable(str(error)) from error
        theirs = self._details.get(ours)
        if theirs is None:
            theirs = await in_thread_if(len(ours.files) > _CONVERT_HERE, detail_of, ours)
            self._details[ours] = theirs
        return theirs

    @override
    async def get_resource(
        self,
        project_name: str,
        resource_name: str,
        *,
        request_context: model.RequestContext | None = None,
    ) -> model.Resource:
        try:
            context = context_of(request_context)
            ours = await self._get_resource(project_name, resource_name, context)
            tag = ours.etag
            if tag and request_context and tag == request_context.context.get(ETAG):
                raise model.NotModified
            return await self._resource(ours, resource_name)
        except RepositoryError as error:
            _raise_for_resource(error, project_name, resource_name)

    async def _get_resource(
        self, project_name: str, resource_name: str, context: RequestContext
    ) -> Resource:
        try:
            project = ProjectName(project_name)
        except InvalidName as error:
            raise ProjectNotFound(project_name) from error
        try:
            filename = FileName(resource_name)
        except InvalidName:
            await self.repository.get_project_page(project, context=context)
            raise
        return await self.repository.get_resource(project, filename, context=context)

    async def _resource(self, ours: Resource, filename: str) -> model.Resource:
        context = model.Context(etag=ours.etag) if ours.etag else model.Context()
        text = _text_of(ours)
        if text is not None:
            return model.TextResource(text, context=context)
        if ours.file_key is not None:
            try:
                file = await asyncio.to_thread(ours.open_checked)
            except SourceUnavailable:
                if ours.fallback is None:
                    raise
                return await self._resource(ours.fallback, filename)
            file.close()
        path = ours.path
        if path is None:
            if self._redirects and ours.location is not None:
                return CarriedResource(ours.location, context=context, ours=ours)
            path = await self._spool.path_of(ours, filename)
        return model.LocalResource(path, context=context, to_cache=False)


def _text_of(resource: Resource) -> str | None:
    """The metadata in memory as the library has it; None if it is no text in UTF-8."""
    if resource.content is None or resource.media_type != METADATA_TYPE:
        return None
    try:
        return resource.content.decode()
    except UnicodeDecodeError:
        return None


def _raise_for_resource(error: RepositoryError, project: str, filename: str) -> NoReturn:
    if isinstance(error, ProjectNotFound):
        raise errors.PackageNotFoundError(project) from error
    if isinstance(error, HiddenByRule) and not error.concealed:
        raise HiddenFile(str(error)) from error
    if isinstance(error, NotFound | HiddenByRule):
        raise errors.ResourceUnavailable(filename) from error
    if isinstance(error, RuleUnavailable) or getattr(error, "refused", False):
        raise Refused(str(error)) from error
    raise errors.SourceRepositoryUnavailable(str(error)) from error
