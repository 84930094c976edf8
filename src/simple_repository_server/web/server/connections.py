"""All connections of a process: how many there may be, how long each may take, who is evicted.

Deadlines are kept in order, so that a look at them (once a second) costs what is over, not what is
there. Decisions are plain functions of their arguments.
"""

import asyncio
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Protocol

import msgspec

from simple_repository_server.observe.events import ConnectionLimitReached, Emit, ignore
from simple_repository_server.web.server.sendfile import Writable

#: Connections beyond the limit that may be there until they have read why: so many, or this part
#: of all that there may be.
_MIN_REFUSED, _REFUSED_PART = 16, 16
#: Stop accepting when a connection's descriptor is this near to the limit of them.
_SPARE_DESCRIPTORS = 16
#: Who has not sent its request after so long may have to go for one that is new.
_PROMPT_S = 1.0
_TELL_AGAIN_S = 60.0
#: Linux: `tcpi_bytes_acked` in `struct tcp_info`.
_ACKED_AT = 120


class Phase(Enum):
    """What a connection is doing; all but BUSY have a deadline."""

    #: The head of a request is awaited.
    HEAD = auto()
    #: Between two requests.
    IDLE = auto()
    #: A request is being answered.
    BUSY = auto()
    #: The rest of a body that nobody wants is read.
    DISCARD = auto()
    #: Refused: it is closed when the client has read why.
    LINGER = auto()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one process grants its clients; times in seconds."""

    max_connections: int = 10_000
    #: For the first byte, and for the head of each request.
    head_s: float = 10.0
    #: Between two requests, as long as there are few connections, and when there are as many as
    #: there may be.
    idle_s: float = 75.0
    crowded_idle_s: float = 5.0
    #: For the rest of a body that is not wanted.
    discard_s: float = 30.0
    linger_s: float = 2.0
    #: How long a client may take nothing of what it is sent.
    stall_s: float = 60.0
    #: How slow it may be, in bytes a second over `slow_s`.
    slow_rate: float = 1000.0
    slow_s: float = 180.0
    #: How often all this is looked at.
    sweep_s: float = 1.0
    #: How many descriptors the process may have.
    descriptors: int = 0

    def deadline_s(self, phase: Phase, connections: int) -> float:
        """How long a connection may stay in a phase, of so many connections."""
        if phase is Phase.IDLE:
            return idle_s(self, connections)
        return {
            Phase.HEAD: self.head_s,
            Phase.DISCARD: self.discard_s,
            Phase.LINGER: self.linger_s,
        }[phase]


def idle_s(limits: Limits, connections: int) -> float:
    """How long one may be idle: less and less, once more than half of all possible are there."""
    free = 1 - connections / limits.max_connections
    return max(limits.crowded_idle_s, limits.idle_s * min(1.0, 2 * free))


class Progress(msgspec.Struct):
    """How much a client has taken, and when that was last more than before."""

    taken: int
    at: float
    #: The beginning of the time over which its rate counts.
    window_taken: int
    window_at: float


def stalled(progress: Progress, taken: int, now: float, limits: Limits) -> str:
    """Why a client that has taken so much by now is cut off; "" if it is not. Notes it down."""
    if taken > progress.taken:
        progress.taken, progress.at = taken, now
    if now - progress.at > limits.stall_s:
        return f"the client took nothing for {limits.stall_s:g} s"
    if now - progress.window_at > limits.slow_s:
        if taken - progress.window_taken < limits.slow_rate * (now - progress.window_at):
            return f"the client took less than {limits.slow_rate:g} bytes/s for {limits.slow_s:g} s"
        progress.window_taken, progress.window_at = taken, now
    return ""


class Connection(Protocol):
    """What is to be known and done with one connection."""

    phase: Phase
    transport: asyncio.Transport

    def expire(self) -> None:
        """Its time is over."""

    def evict(self) -> None:
        """End it for one that is new."""

    def stalled(self, reason: str) -> None:
        """It takes nothing: end it at once."""

    def refuse_busy(self, *, now: bool) -> None:
        """There are too many: refuse it now, or when its request has come."""


class Connections:
    """The connections of one process, watched over by one timer.

    `on_exhausted` is called when descriptors run out, to stop accepting for a while.
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
        self._told_at = float("-inf")
        #: What waits for room in the sockets of all connections; there once there is one.
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
            self._make_room(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        self.count -= 1
        self._writing.pop(connection, None)
        if connection.phase is not Phase.BUSY:
            self._timed[connection.phase].pop(connection, None)

    def moved(self, connection: Connection, phase: Phase, *, anew: bool = True) -> None:
        """A connection is in that phase now; if that is not `anew`, its deadline stays."""
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
        """A connection that is idle was used in between; to be called once in each `tick`."""
        self._idle[connection] = self._now()
        self._idle.move_to_end(connection)

    def writing(self, connection: Connection) -> None:
        """A client does not take as fast as it is sent: see that it takes anything at all."""
        if connection not in self._writing:
            taken, now = bytes_taken(connection.transport), self._now()
            self._writing[connection] = Progress(taken, now, taken, now)

    def written(self, connection: Connection) -> None:
        """The client has taken what it was sent."""
        self._writing.pop(connection, None)

    def _make_room(self, connection: Connection) -> None:
        now = self._now()
        victim = next(iter(self._idle), None)
        if victim is None:
            victim = next(_until(self._timed[Phase.HEAD], now - _PROMPT_S), None)
        if victim is not None:
            # The next one that comes is not to find it again: it is gone only later.
            self._timed[victim.phase].pop(victim)
            victim.evict()
            return
        if now - self._told_at > _TELL_AGAIN_S:
            self._told_at = now
            self.emit(ConnectionLimitReached(limit=self.limits.max_connections))
        refused = max(_MIN_REFUSED, self.limits.max_connections // _REFUSED_PART)
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
    """How many bytes the other side has acknowledged, or else a figure that grows like that."""
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
            pass  # no TCP, or another kernel
    return -transport.get_write_buffer_size()
