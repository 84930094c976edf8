"""The events of the server: as a whole (emitted once for all workers), its connections, its log."""

from typing import ClassVar

import msgspec
from typing_extensions import override

from simple_repository_server.observe.events import Event


class _Server(msgspec.Struct, frozen=True, kw_only=True):
    """The fields they share."""

    version: str
    #: The process that was started.
    pid: int
    workers: int
    #: The address of the index.
    address: str
    #: The sources in order of priority, without secrets.
    sources: tuple[str, ...]
    #: The configuration file; empty if there is none.
    config: str = ""
    #: How many rules are in force; those of all indexes count once.
    rules: int = 0

    def _what(self) -> str:
        workers = f", {self.workers} workers" if self.workers > 1 else ""
        rules = f", {self.rules} rule{'' if self.rules == 1 else 's'}" if self.rules else ""
        config = f", by {self.config}" if self.config else ""
        return (
            f"simple-repository-server {self.version} (pid {self.pid}{workers}) "
            f"at {self.address} with {', '.join(self.sources)}{rules}{config}"
        )


class ServerStarting(_Server, Event, frozen=True, kw_only=True, tag="server_starting"):
    """The options are valid and the port is bound; requests wait until it is ready."""

    @override
    def text(self) -> str:
        """What will be served, and where."""
        return f"starting {self._what()}"


class ServerReady(_Server, Event, frozen=True, kw_only=True, tag="server_ready"):
    """Requests are answered."""

    @override
    def text(self) -> str:
        """What is served, and where."""
        return f"ready: {self._what()}"


class ServerStopped(_Server, Event, frozen=True, kw_only=True, tag="server_stopped"):
    """The last request was answered or cut off, and the process ends."""

    #: The exit status.
    status: int
    uptime_s: float

    @override
    def text(self) -> str:
        """What was served, and how it ended."""
        ended = f"with status {self.status} after {self.uptime_s:.0f} s"
        return f"stopped {ended}: {self._what()}"


class LogReopened(Event, frozen=True, kw_only=True, tag="log_reopened"):
    """The log file was reopened by its name, on SIGHUP."""

    level: ClassVar[str] = "debug"

    @override
    def text(self) -> str:
        """That it happened."""
        return "reopened the log file"


class AuditFailed(Event, frozen=True, kw_only=True, tag="audit_failed"):
    """The audit log cannot be written, or records were lost; emitted once for each."""

    level: ClassVar[str] = "error"
    file: str
    reason: str

    @override
    def text(self) -> str:
        """The file and the reason."""
        return f"the audit log {self.file} is incomplete or late: {self.reason}"


class AuditRecovered(Event, frozen=True, kw_only=True, tag="audit_recovered"):
    """The audit log can be written again."""

    file: str

    @override
    def text(self) -> str:
        """The file."""
        return f"the audit log {self.file} is written again"


class LogLinesDropped(Event, frozen=True, kw_only=True, tag="log_lines_dropped"):
    """Lines were dropped, because too many waited to be written."""

    level: ClassVar[str] = "warning"
    count: int

    @override
    def text(self) -> str:
        """How many, and why."""
        return f"dropped {self.count} log lines: they are read too slowly or not at all"


class AcceptingPaused(Event, frozen=True, kw_only=True, tag="accepting_paused"):
    """Nearly all file descriptors are in use: new connections wait until some are free."""

    level: ClassVar[str] = "error"
    limit: int

    @override
    def text(self) -> str:
        """The limit, and what to do."""
        return (
            f"nearly all of the {self.limit} files this process may open are in use: new "
            "connections wait until some are closed; raise the limit (ulimit -n, LimitNOFILE=) "
            "or add --workers"
        )


class AcceptingResumed(Event, frozen=True, kw_only=True, tag="accepting_resumed"):
    """New connections are accepted again."""

    @override
    def text(self) -> str:
        """That it is over."""
        return "new connections are accepted again"


class ConnectionLimitReached(Event, frozen=True, kw_only=True, tag="connection_limit_reached"):
    """All connections are in use, none is idle: new ones get 503; emitted once a minute."""

    level: ClassVar[str] = "warning"
    limit: int

    @override
    def text(self) -> str:
        """The limit, and what to do."""
        return (
            f"all {self.limit} connections are in use, new ones are refused; "
            "see --max-connections and the limit of open files"
        )


class ConnectionCut(Event, frozen=True, kw_only=True, tag="connection_cut"):
    """A connection was closed because the client did not read an answer that was complete."""

    client: str
    reason: str

    @override
    def text(self) -> str:
        """The client and the reason."""
        return f"closed the connection of {self.client or 'a client'}: {self.reason}"


class WorkerReplaced(Event, frozen=True, kw_only=True, tag="worker_replaced"):
    """A worker process ended unexpectedly and was replaced."""

    level: ClassVar[str] = "error"
    pid: int
    reason: str
    replacement: int

    @override
    def text(self) -> str:
        """Its process ID, the reason, and the process ID of the new one."""
        return f"worker {self.pid} died ({self.reason}), replaced by {self.replacement}"


class ConfigReloaded(Event, frozen=True, kw_only=True, tag="config_reloaded"):
    """A process has read the configuration file again, and answers by it."""

    file: str
    pid: int
    #: Options that changed in the file and are as they were until the server is restarted.
    restart_for: tuple[str, ...] = ()

    @override
    def text(self) -> str:
        """The file, and what takes a restart."""
        rest = f"; restart the server for: {', '.join(self.restart_for)}"
        return f"process {self.pid} reloaded {self.file}{rest if self.restart_for else ''}"


class ConfigRefused(Event, frozen=True, kw_only=True, tag="config_refused"):
    """The configuration file was read again and cannot be used: the settings before stay."""

    level: ClassVar[str] = "error"
    file: str
    mistakes: tuple[str, ...]

    @override
    def text(self) -> str:
        """The file and all its mistakes."""
        found = "; ".join(self.mistakes)
        return f"did not reload {self.file}, the settings before stay in force: {found}"
