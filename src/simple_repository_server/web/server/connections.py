"""All connections of a process: their number, their deadlines, and which one is evicted.

Deadlines are stored in order, so that a sweep (once a second) takes time for those that have
passed, not for all connections. Decisions are pure functions.
"""

import asyncio
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Protocol

import msgspec

from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.observe.server_events import ConnectionLimitReached
from simple_repository_server.web.server.sendfile import Writable

#: How many connections beyond the limit may stay until they have read the 503, at least.
_MIN_REJECTED = 16
#: The same as a part of the limit.
_REJECTED_PART = 16
#: Accepting is paused when a connection's descriptor is this close to the limit.
_SPARE_DESCRIPTORS = 16
#: A connection without a request for longer may be evicted for a new one.
_PROMPT_S = 1.0
_REPORT_AGAIN_S = 60.0
#: Linux: `tcpi_bytes_acked` in `struct tcp_info`.
_ACKED_AT = 120


class Phase(Enum):
    """The phase of a connection; all but BUSY have a deadline."""

    #: The head of a request is awaited.
    HEAD = auto()
    #: Between two requests.
    IDLE = auto()
    #: A request is being answered.
    BUSY = auto()
    #: The rest of an unused request body is read.
    DISCARD = auto()
    #: Rejected: it is closed once the client could read the reason.
    LINGER = auto()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one process for its clients; times in seconds."""

    max_connections: int = 10_000
    #: For the first byte, and for the head of each request.
    head_s: float = 10.0
    #: Between two requests, with few connections and with the most possible.
    idle_s: float = 75.0
    crowded_idle_s: float = 5.0
    #: For the rest of an unused request body.
    discard_s: float = 30.0
    linger_s: float = 2.0
    #: How long a client may receive nothing of what it is sent.
    stall_s: float = 60.0
    #: The least rate, in bytes per second over `slow_s`.
    slow_rate: float = 1000.0
    slow_s: float = 180.0
    #: How often deadlines are checked.
    sweep_s: float = 1.0
    #: How many descriptors the process may have.
    descriptors: int = 0

    def deadline_s(self, phase: Phase, connections: int) -> float:
        """How long a connection may stay in a phase, with that many connections."""
        if phase is Phase.IDLE:
            return idle_s(self, connections)
        return {
            Phase.HEAD: self.head_s,
            Phase.DISCARD: self.discard_s,
            Phase.LINGER: self.linger_s,
        }[phase]


def idle_s(limits: Limits, connections: int) -> float:
    """How long a connection may be idle: less and less beyond half of the possible number."""
    free = 1 - connections / limits.max_connections
    return max(limits.crowded_idle_s, limits.idle_s * min(1.0, 2 * free))


class Progress(msgspec.Struct):
    """How much a client has received, and when that last increased."""

    taken: int
    at: float
    #: The beginning of the window over which its rate is measured.
    window_taken: int
    window_at: float


def stalled(progress: Progress, taken: int, now: float, limits: Limits) -> str:
    """Why a client that has received `taken` bytes is cut off; "" if it is not.

    Updates `progress`.
    """
    if taken > progress.taken:
        progress.taken, progress.at = taken, now
    if now - progress.at > limits.stall_s:
        return f"the client received nothing for {limits.stall_s:g} s"
    if now - progress.window_at > limits.slow_s:
        if taken - progress.window_taken < limits.slow_rate * (now - progress.window_at):
            rate, window = limits.slow_rate, limits.slow_s
            return f"the client received less than {rate:g} bytes/s for {window:g} s"
        progress.window_taken, progress.window_at = taken, now
    return ""


class Connection(Protocol):
    """What `Connections` needs of a connection."""

    phase: Phase
    transport: asyncio.Transport

    def expire(self) -> None:
        """Its deadline has passed."""

    def evict(self) -> None:
        """End it to make way for a new one."""

    def stalled(self, reason: str) -> None:
        """It receives nothing: end it at once."""

    def refuse_busy(self, *, now: bool) -> None:
        """There are too many: reject it now, or once its request was received."""


class Connections:
    """The connections of one process, swept by one timer.

    `on_exhausted` is called when descriptors run short, to pause accepting.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        emit: Emit = ignore,
        on_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        self.limits = limits
        self.emit = emit
        self.on_exhausted = on_exhausted
        self.count = 0
        #: The number of the last sweep.
        self.tick = 0
        self._timed: dict[Phase, OrderedDict[Connection, float]] = {
            phase: OrderedDict() for phase in Phase if phase is not Phase.BUSY
        }
        self._idle = self._timed[Phase.IDLE]
        self._writing: dict[Connection, Progress] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._now: Callable[[], float] = lambda: 0.0
        self._reported_at = float("-inf")
        #: Waits until sockets are writable; None before the first connection.
        self.writable: Writable | None = None

    def made(self, connection: Connection) -> None:
        """A connection was accepted."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._now = self._loop.time
            self.writable = Writable(self._loop)
            self._loop.call_later(self.limits.sweep_s, self._sweep)
        self.count += 1
        self._timed[connection.phase][connection] = self._now()
        if self.limits.descriptors:
            descriptor = connection.transport.get_extra_info("socket").fileno()
            if descriptor >= self.limits.descriptors - _SPARE_DESCRIPTORS:
                self.on_exhausted()
        if self.count > self.limits.max_connections:
            self._evict_for(connection)

    def lost(self, connection: Connection) -> None:
        """A connection was closed."""
        self.count -= 1
        self._writing.pop(connection, None)
        if connection.phase is not Phase.BUSY:
            self._timed[connection.phase].pop(connection, None)

    def moved(self, connection: Connection, phase: Phase, *, anew: bool = True) -> None:
        """A connection is in that phase now; unless `anew`, its deadline stays."""
        if phase is connection.phase:
            if anew and phase is not Phase.BUSY:
                timed = self._timed[phase]
                timed[connection] = self._now()
                timed.move_to_end(connection)
            return
        if connection.phase is not Phase.BUSY:
            self._timed[connection.phase].pop(connection, None)
        connection.phase = phase
        if phase is not Phase.BUSY:
            self._timed[phase][connection] = self._now()

    def touched(self, connection: Connection) -> None:
        """An idle connection was used; to be called once per `tick`."""
        self._idle[connection] = self._now()
        self._idle.move_to_end(connection)

    def writing(self, connection: Connection) -> None:
        """A client receives slower than it is sent: watch its progress."""
        if connection not in self._writing:
            taken, now = bytes_taken(connection.transport), self._now()
            self._writing[connection] = Progress(taken, now, taken, now)

    def written(self, connection: Connection) -> None:
        """The client has received what it was sent."""
        self._writing.pop(connection, None)

    def _evict_for(self, connection: Connection) -> None:
        now = self._now()
        victim = next(iter(self._idle), None)
        if victim is None:
            victim = next(_until(self._timed[Phase.HEAD], now - _PROMPT_S), None)
        if victim is not None:
            # It is closed only later, and must not be chosen again until then.
            self._timed[victim.phase].pop(victim)
            victim.evict()
            return
        if now - self._reported_at > _REPORT_AGAIN_S:
            self._reported_at = now
            self.emit(ConnectionLimitReached(limit=self.limits.max_connections))
        refused = max(_MIN_REJECTED, self.limits.max_connections // _REJECTED_PART)
        connection.refuse_busy(now=self.count > self.limits.max_connections + refused)

    def _sweep(self) -> None:
        assert self._loop is not None
        self._loop.call_later(self.limits.sweep_s, self._sweep)
        self.tick += 1
        now = self._now()
        for phase, timed in self._timed.items():
            before = now - self.limits.deadline_s(phase, self.count)
            for connection in list(_until(timed, before)):
                connection.expire()
        for connection, progress in list(self._writing.items()):
            reason = stalled(progress, bytes_taken(connection.transport), now, self.limits)
            if reason:
                connection.stalled(reason)


def _until(timed: OrderedDict[Connection, float], before: float) -> Iterator[Connection]:
    for connection, since in timed.items():
        if since > before:
            return
        yield connection


def bytes_taken(transport: asyncio.Transport) -> int:
    """How many bytes the client has acknowledged, or else a figure that grows with that."""
    carrier = transport.get_extra_info("socket")
    if carrier is not None and hasattr(socket, "TCP_INFO"):
        try:
            with socket.socket(fileno=carrier.fileno()) as view:
                try:
                    info = view.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AT + 8)
                finally:
                    view.detach()
            return int(struct.unpack_from("=Q", info, _ACKED_AT)[0])
        except (OSError, struct.error):
            pass  # not TCP, or not Linux
    return -transport.get_write_buffer_size()
