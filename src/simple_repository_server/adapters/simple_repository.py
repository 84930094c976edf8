"""Components of the library `simple-repository` in this one, and the other way round.

The library is only needed, and imported, when one of the two functions is called.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simple_repository_server.model import FilesMode
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository
from simple_repository_server.upstream.credentials import Credentials
from simple_repository_server.upstream.egress import Egress
from simple_repository_server.upstream.limits import Limits

if TYPE_CHECKING:
    from simple_repository import SimpleRepository

    from simple_repository_server.adapters.to_library import ExposedRepository

#: For a call of a component, in seconds.
DEFAULT_CALL_S = 60.0
DEFAULT_MEMORY_BYTES = 64 * 1024 * 1024
#: For files that the library can only serve from a path.
DEFAULT_SPOOL_BYTES = 2 * 1000**3


def from_simple_repository(
    component: "SimpleRepository",
    *,
    label: str | None = None,
    url: str | None = None,
    credentials: Credentials | None = None,
    contains: Sequence["ExposedRepository"] = (),
    call_s: float = DEFAULT_CALL_S,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    limits: Limits | None = None,
    egress: Egress | None = None,
    emit: Emit = ignore,
) -> Repository:
    """A component of `simple-repository` as a `Repository`, with the promises of that interface.

    The page decides: a file that the component serves but does not list is `ResourceNotFound`.
    Unusable entries of its pages are dropped, sizes and digests are verified before the last bytes
    are sent, and every exception becomes one of this project: `ProjectNotFound` only for the
    library's `PackageNotFoundError`, `SourceTimeout` for a call of more than `call_s` seconds, and
    a kind of `SourceUnavailable` for everything that is not expected. No page is cached: the
    component is called for each lookup, and pages are never fresh for clients. As long as a page
    is equal to the last one, it is the same object; for that, pages are remembered within
    `memory_bytes`.

    `label` names it in messages (the name of its class). Remote files (`HttpResource`) are fetched
    here, within `limits` and by `egress`, from public hosts and from the host of `url`, the index
    behind the component; credentials in `url` or in `credentials` are sent to their origin only,
    and with them clients are not redirected. `contains` are the repositories of this project inside
    the component, as `to_simple_repository` returned them: they are opened and closed with the
    result, and their states are reported.

    The component's coroutines run on the event loop, so one that blocks delays other requests.

    Raises `ImportError` if the library is not installed, and `ValueError` if `url` is no http(s)
    address.
    """
    _check_installed()
    from simple_repository_server.adapters.from_library import ComponentRepository

    return ComponentRepository(
        component,
        label=label or type(component).__name__,
        url=url,
        credentials=credentials,
        contains=contains,
        call_s=call_s,
        memory_bytes=memory_bytes,
        limits=limits,
        egress=egress,
        emit=emit,
    )


def to_simple_repository(
    repository: Repository,
    *,
    files: FilesMode = FilesMode.REDIRECT,
    spool_bytes: int = DEFAULT_SPOOL_BYTES,
) -> "ExposedRepository":
    """A `Repository` as a component of `simple-repository`, for its combinations and servers.

    The result is an asynchronous context manager: enter it before its first use, which opens the
    repository. With `files` REDIRECT a file that clients can fetch themselves is an `HttpResource`;
    else, and for all other files, it is a `LocalResource`. What has no path is first received in
    full, verified and stored in a temporary folder of at most `spool_bytes`.

    A hidden project has a page without files, so that no combination of the library takes the
    project from another source, and a hidden file is `ResourceUnavailable`, with the sentence of
    its rule. Failures are `SourceRepositoryUnavailable`; where a cache of the library must not
    answer instead (access denied, a rule that cannot be evaluated), `InvalidPackageError`.

    Raises `ImportError` if the library is not installed.
    """
    _check_installed()
    from simple_repository_server.adapters.to_library import ExposedRepository

    return ExposedRepository(repository, files=files, spool_bytes=spool_bytes)


def _check_installed() -> None:
    try:
        import simple_repository  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise ImportError(
            "Adapting components of simple-repository needs that library. Install it with:"
            " pip install 'simple-repository-server[simple-repository]'"
        ) from error
