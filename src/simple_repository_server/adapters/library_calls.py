"""Calls of a component of the library: what it may know, how long it may take, how it fails."""

import asyncio
import dataclasses
from collections.abc import Awaitable
from typing import TypeVar

from simple_repository import errors, model

from simple_repository_server.errors import (
    Malformed,
    NotFound,
    ProjectNotFound,
    RepositoryError,
    ResourceNotFound,
    SourceInvalid,
    SourceTimeout,
    SourceUnavailable,
)
from simple_repository_server.model import RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.availability import Availability
from simple_repository_server.resource import Resource

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

#: The key by which the library asks for `NotModified`. A client's header of that name is no such
#: request.
ETAG = "etag"
_INVALID = (errors.UnsupportedSerialization, errors.InvalidPackageError, model.NotModified)


@dataclasses.dataclass(frozen=True, init=False)
class CarriedContext(model.RequestContext):
    """The context of the library with the request's headers, and ours for repositories inside."""

    ours: RequestContext

    def __init__(self, ours: RequestContext) -> None:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in ours.headers.items()
        }
        if ours.revalidate:
            headers.setdefault("cache-control", "no-cache")
        headers.pop(ETAG, None)
        super().__init__(headers)
        object.__setattr__(self, "ours", ours)


@dataclasses.dataclass(frozen=True)
class CarriedResource(model.HttpResource):
    """A remote file for the library, and ours for repositories outside."""

    ours: Resource | None = None


def context_of(theirs: model.RequestContext | None) -> RequestContext:
    """Our context again; one made of its texts, as headers, if the library made it."""
    if isinstance(theirs, CarriedContext):
        return theirs.ours
    headers = {
        name.lower().encode("latin-1", "replace"): value.encode("latin-1", "replace")
        for name, value in (theirs.context.items() if theirs else ())
        if isinstance(value, str) and name != ETAG
    }
    revalidate = b"no-cache" in headers.get(b"cache-control", b"").lower()
    return RequestContext(revalidate=revalidate, headers=headers)


class Calls:
    """Awaits calls of one component, for at most `call_s` seconds each.

    Whatever they raise becomes an error of this project; `availability` is reported.
    """

    def __init__(self, label: str, *, call_s: float, availability: Availability) -> None:
        self._label = label
        self._call_s = call_s
        self._availability = availability

    async def result(
        self,
        work: Awaitable[T],
        *,
        project: ProjectName | None = None,
        filename: FileName | None = None,
    ) -> T:
        """What the call returns. Raises only kinds of `RepositoryError`."""
        deadline = asyncio.timeout(self._call_s)
        try:
            async with deadline:
                found = await work
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure: RepositoryError = self._failed(error, "it cancelled its own work")
        except Exception as error:  # noqa: BLE001 - a component may raise anything
            if deadline.expired():
                reason = f"longer than {self._call_s:g} s"
                failure = _because(SourceTimeout(self._label, reason), error)
            else:
                failure = (
                    _error_of_ours(error)
                    or _not_found(error, project, filename)
                    or self._error_for(error)
                )
        else:
            self._availability.report(None)
            return found
        self._availability.report(
            failure.reason if isinstance(failure, SourceUnavailable) else None
        )
        raise failure

    def _error_for(self, error: Exception) -> SourceUnavailable:
        if isinstance(error, Malformed):
            return _because(SourceInvalid(self._label, str(error)), error)
        if isinstance(error, _INVALID):
            reason = f"its component raised {type(error).__name__}"
            return _because(SourceInvalid(self._label, reason), error)
        if isinstance(error, TimeoutError):
            return _because(SourceTimeout(self._label, "its component gave up waiting"), error)
        if isinstance(error, errors.SourceRepositoryUnavailable):
            cause = error.__cause__
            detail = f" ({type(cause).__name__})" if cause is not None else ""
            return self._failed(error, f"its component reports an outage{detail}")
        return self._failed(error, f"its component failed ({type(error).__name__})")

    def _failed(self, error: BaseException, reason: str) -> SourceUnavailable:
        return _because(SourceUnavailable(self._label, reason), error)


def _error_of_ours(error: Exception) -> RepositoryError | None:
    """The original error where the component contains a repository of this project."""
    ours = error if isinstance(error, RepositoryError) else error.__cause__
    if isinstance(ours, RepositoryError) and not isinstance(ours, NotFound | Malformed):
        return ours
    return None


def _not_found(
    error: Exception, project: ProjectName | None, filename: FileName | None
) -> NotFound | None:
    """That the project, or a file that its page lists, is not there; None: that is not certain."""
    no_project = isinstance(error, errors.PackageNotFoundError | ProjectNotFound)
    no_file = isinstance(error, errors.ResourceUnavailable | ResourceNotFound)
    if project is not None and filename is not None and (no_project or no_file):
        return _because(ResourceNotFound(project, filename), error)
    if project is not None and no_project:
        return _because(ProjectNotFound(project), error)
    return None


def _because(error: E, cause: BaseException) -> E:
    # Not the text of the cause: it may contain an address with a password.
    error.__cause__ = cause
    return error
