"""The events of the server as a whole, told once, however many workers it has; those of its log."""

from typing import ClassVar

import msgspec
from typing_extensions import override

from simple_repository_server.observe.events import Event


class _Server(msgspec.Struct, frozen=True, kw_only=True):
    """What all of them say of the server."""

    version: str
    #: The process that was started.
    pid: int
    workers: int
    #: The address of the index.
    address: str
    #: Where the sources are, in the order of their priority.
    sources: tuple[str, ...]

    def _what(self) -> str:
        workers = f", {self.workers} workers" if self.workers > 1 else ""
        return (
            f"simple-repository-server {self.version} (pid {self.pid}{workers}) "
            f"at {self.address} with {', '.join(self.sources)}"
        )


class ServerStarting(_Server, Event, frozen=True, kw_only=True, tag="server_starting"):
    """The options are fine and the port is ours; requests wait until it is ready."""

    @override
    def text(self) -> str:
        """What is to be served, and where."""
        return f"starting {self._what()}"


class ServerReady(_Server, Event, frozen=True, kw_only=True, tag="server_ready"):
    """Requests are answered."""

    @override
    def text(self) -> str:
        """What is served, and where."""
        return f"ready: {self._what()}"


class ServerStopped(_Server, Event, frozen=True, kw_only=True, tag="server_stopped"):
    """The last request was answered or cut off: the process ends."""

    #: The exit status.
    status: int
    uptime_s: float

    @override
    def text(self) -> str:
        """What is served no longer, and how it ended."""
        ended = f"with status {self.status} after {self.uptime_s:.0f} s"
        return f"stopped {ended}: {self._what()}"


class LogReopened(Event, frozen=True, kw_only=True, tag="log_reopened"):
    """The log's file was opened again by its name, as SIGHUP asks for."""

    level: ClassVar[str] = "debug"

    @override
    def text(self) -> str:
        """That it happened."""
        return "opened the log again"


class LogLinesDropped(Event, frozen=True, kw_only=True, tag="log_lines_dropped"):
    """Lines were thrown away, as more of them waited to be written than there is room for."""

    level: ClassVar[str] = "warning"
    count: int

    @override
    def text(self) -> str:
        """How many, and why."""
        return f"{self.count} log lines were dropped: they are read too slowly, or not at all"


class AcceptingPaused(Event, frozen=True, kw_only=True, tag="accepting_paused"):
    """Nearly all descriptors are in use: new connections wait until some are free."""

    level: ClassVar[str] = "error"
    limit: int

    @override
    def text(self) -> str:
        """The limit, and what to do."""
        return (
            f"nearly all of the {self.limit} files this process may open are in use: new "
            "connections wait; raise the limit (ulimit -n, LimitNOFILE=) or add --workers"
        )


class AcceptingResumed(Event, frozen=True, kw_only=True, tag="accepting_resumed"):
    """New connections are accepted again."""

    @override
    def text(self) -> str:
        """That it is over."""
        return "new connections are accepted again"


class WorkerReplaced(Event, frozen=True, kw_only=True, tag="worker_replaced"):
    """A process that answered requests ended without being told to by us; there is a new one."""

    level: ClassVar[str] = "error"
    pid: int
    reason: str
    replacement: int

    @override
    def text(self) -> str:
        """Which one, by what, and the number of the new one."""
        return f"worker {self.pid} died ({self.reason}), replaced by {self.replacement}"
