"""Which endpoint answers a path, for which index: one set of indexes, from when it is opened on."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import NamedTuple

from typing_extensions import override

from simple_repository_server.model import SourceState
from simple_repository_server.observe.audit_log import AuditLog
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.web.endpoint import (
    Endpoint,
    MisdirectedEndpoint,
    NotFoundEndpoint,
    PathNames,
)
from simple_repository_server.web.exchange import Request
from simple_repository_server.web.moments import parse_moment
from simple_repository_server.web.routes import RouteTable, root_routes
from simple_repository_server.web.served import Served

_SNAPSHOT = "/snapshot/"
#: The first segments of paths below the root of an index.
_BELOW_INDEX = ("simple", "resources", "snapshot", "why")


class Found(NamedTuple):
    """What answers a request."""

    endpoint: Endpoint
    repository: Repository
    names: PathNames = PathNames()
    #: The name of the index; "" for one without a name.
    index_name: str = ""
    #: It is about a past state, of which there are any number.
    is_past: bool = False


class AllIndexes(RepositoryContainer):
    """The default index, opened and closed with all others, and with the states of all sources."""

    def __init__(self, served: Served) -> None:
        super().__init__(served.default)
        self.sources = tuple(dict.fromkeys((served.default, *served.indexes.values())))

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        """Those of each source once, however many indexes it is in."""
        return tuple(dict.fromkeys(super().source_states()))


class Site:
    """One set of indexes under their paths, and the requests that are being answered from it.

    `table` has the routes of one index, relative to its root. They are the same for all of them,
    so that a page that several indexes show is rendered once. Enter it to open the indexes.
    """

    def __init__(
        self,
        served: Served,
        table: RouteTable,
        *,
        audit: AuditLog | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._served = served
        self._table = table
        self._clock = clock
        #: All indexes as one repository, to be opened, and asked about its sources.
        self.all: Repository = AllIndexes(served) if served.indexes else served.default
        #: That of the default index too, where it has one: audit records are the same either way.
        self._default_name = next(
            (name for name, index in served.indexes.items() if index is served.default), ""
        )
        self._root = RouteTable(root_routes(tuple(served.indexes), audit=audit))
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._opened = AsyncExitStack()

    async def open(self) -> None:
        """Open all indexes. Raises what keeps one from opening; then none is open."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.all)
            self._opened = stack.pop_all()

    async def close(self) -> None:
        """Close what no other site has open; without effect if it is closed."""
        opened, self._opened = self._opened, AsyncExitStack()
        await opened.aclose()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request while it is answered."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def until_idle(self) -> None:
        """Wait until no request is being answered; new ones must have stopped coming."""
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()

    def find(self, request: Request) -> Found:
        """What answers the request: also when nothing is at its path, or it names another host."""
        path, hosts = request.path, self._served.hosts
        # That this process is alive is no secret, and load balancers name any host.
        if hosts is not None and path != "/healthz" and not hosts.allows(request.header(b"host")):
            return Found(MisdirectedEndpoint(), self.all)
        of_root = self._root.find(path)
        if of_root is not None:
            return Found(of_root[0], self.all, of_root[1])
        name, _, below = path[1:].partition("/")
        index = self._served.indexes.get(name)
        if index is not None:
            if not below:
                return self._nothing(f"The index {name!r} is at '/{name}/simple/'.")
            return self._find_in(name, index, f"/{below}")
        if below.partition("/")[0] in _BELOW_INDEX and name not in _BELOW_INDEX:
            text = f"There is no index {name[:100]!r} on this server; see '/' for those there are."
            return self._nothing(text)
        return self._find_in("", self._served.default, path)

    def _find_in(self, name: str, index: Repository, path: str) -> Found:
        """What answers at a path below the root of an index."""
        is_past = path.startswith(_SNAPSHOT)
        if is_past:
            snapshots = self._served.snapshots.get(name)
            if snapshots is None:
                text = "This index has no snapshots; 'snapshots = true' in its settings adds them."
                return self._nothing(text)
            moment, _, rest = path.removeprefix(_SNAPSHOT).partition("/")
            try:
                index = snapshots.at(parse_moment(moment, self._clock()))
            except ValueError as error:
                return self._nothing(str(error))
            path = f"/{rest}"
        found = self._table.find(path)
        if found is None:
            return self._nothing("")
        name = name or self._default_name
        return Found(found[0], index, found[1], index_name=name, is_past=is_past)

    def _nothing(self, text: str) -> Found:
        return Found(NotFoundEndpoint(text), self.all)
