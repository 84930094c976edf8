"""Which endpoint answers at which path: one table for the plain application and for FastAPI."""

from collections.abc import Iterable, Sequence
from functools import partial

import msgspec

from simple_repository_server.model import FilesMode
from simple_repository_server.observe.audit_log import AuditLog
from simple_repository_server.web.endpoint import Endpoint, Immediate, PathNames
from simple_repository_server.web.files import FileEndpoint
from simple_repository_server.web.health import healthz, readyz
from simple_repository_server.web.home import HomeEndpoint
from simple_repository_server.web.open_files import DEFAULT_SMALL_FILE_BYTES, OpenFiles
from simple_repository_server.web.render import Renderer
from simple_repository_server.web.simple import (
    ProjectListEndpoint,
    ProjectPageEndpoint,
    list_without_slash,
    page_without_slash,
)
from simple_repository_server.web.why import WhyEndpoint

#: The part of the memory for answers that is for small files.
_FOR_FILES = 4
_PROJECT, _FILE = "{project}", "{file}"


class Route(msgspec.Struct, frozen=True):
    """Paths of one shape: `{project}` and `{file}` each stand for one segment that is not empty."""

    template: str
    endpoint: Endpoint


class AnswerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the index answers.

    `files` says how clients get remote files. `memory_bytes` bounds the rendered pages and the
    small files (up to `small_file_bytes` each) in memory. With `debug_headers` answers have a
    `Cache-Status` header.
    """

    files: FilesMode
    memory_bytes: int
    small_file_bytes: int = DEFAULT_SMALL_FILE_BYTES
    debug_headers: bool = False


class AnswerMemory:
    """The rendered pages and the small files in memory, for any number of indexes.

    `beside`: files lie beside the simple root of each (`/simple/` and `/resources/`), and not
    inside it.
    """

    def __init__(self, options: AnswerOptions, *, beside: bool = True) -> None:
        for_files = options.memory_bytes // _FOR_FILES if options.small_file_bytes else 0
        self.beside = beside
        self.renderer = Renderer(
            "../../resources/" if beside else "../resources/",
            memory_bytes=options.memory_bytes - for_files,
            debug_headers=options.debug_headers,
        )
        self.open_files = OpenFiles(small_bytes=options.small_file_bytes, memory_bytes=for_files)


def has_files_beside(prefix: str) -> bool:
    """Whether the files of an index with that prefix lie beside its simple root."""
    return prefix.endswith("/simple/")


def index_routes(
    prefix: str, options: AnswerOptions, memory: AnswerMemory | None = None
) -> tuple[Route, ...]:
    """The routes of one index whose list of projects is at `prefix`.

    Files lie beside the simple root (`/simple/` and `/resources/`); an index with another kind of
    prefix has them inside it, so that path parameters in the prefix hold for files too. Beside the
    files lies the explanation of each project (`why/{project}`). Indexes
    with the same kind of prefix may share `memory`. Raises `ValueError` for a prefix that does not
    begin and end with a slash.
    """
    if not prefix.startswith("/") or not prefix.endswith("/"):
        raise ValueError(f"The prefix {prefix!r} must begin and end with '/'.")
    beside = has_files_beside(prefix)
    files_prefix = f"{prefix.removesuffix('simple/') if beside else prefix}resources/"
    if memory is None:
        memory = AnswerMemory(options, beside=beside)
    assert memory.beside is beside
    files = FileEndpoint(options.files, memory.open_files, debug_headers=options.debug_headers)
    routes = [
        Route(prefix, ProjectListEndpoint(memory.renderer)),
        Route(f"{prefix}{_PROJECT}/", ProjectPageEndpoint(memory.renderer)),
        Route(f"{prefix}{_PROJECT}", Immediate(page_without_slash)),
        Route(f"{files_prefix}{_PROJECT}/{_FILE}", files),
        Route(f"{files_prefix.removesuffix('resources/')}why/{_PROJECT}", WhyEndpoint()),
    ]
    if prefix != "/":
        routes.append(Route(prefix[:-1], Immediate(list_without_slash)))
    return tuple(routes)


def root_routes(indexes: Sequence[str] = (), *, audit: AuditLog | None = None) -> tuple[Route, ...]:
    """The page for people, which lists the `indexes`, and what load balancers request.

    `/readyz` has the state of `audit` too.
    """
    return (
        Route("/", HomeEndpoint(indexes)),
        Route("/healthz", Immediate(healthz)),
        Route("/readyz", Immediate(partial(readyz, audit=audit))),
    )


class RouteTable:
    """Finds the endpoint of a path among `routes`, without a framework.

    Frameworks take longer for that than an answer from memory takes in all.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[str, Endpoint] = {}
        self._shapes: list[tuple[str, int, str, Endpoint]] = []
        for route in routes:
            prefix, brace, rest = route.template.partition("{")
            if not brace:
                self._fixed[route.template] = route.endpoint
            else:
                end = "/" if route.template.endswith("/") else ""
                self._shapes.append((prefix, rest.count("}"), end, route.endpoint))

    def find(self, path: str) -> tuple[Endpoint, PathNames] | None:
        """The endpoint of the path with the names in it; None if it has none."""
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed, PathNames()
        for prefix, count, end, endpoint in self._shapes:
            if path.startswith(prefix) and path.endswith(end):
                segments = path[len(prefix) : len(path) - len(end)].split("/")
                if len(segments) == count and all(segments):
                    return endpoint, PathNames(*segments)
        return None
