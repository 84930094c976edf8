"""Replay traces against a server, as many clients at once: a process of its own.

    python -m bench.replay <PLAN >REPLAYED

Each client begins with another trace, and repeats them until the time is over. It sends a request
when as many were answered as at its recording, after the same pause; what is measured is the time
from then to the last byte. Connections are those of one client and are used again.
"""

import asyncio
import sys
import time

import httptools
import msgspec
import uvloop
from typing_extensions import override

#: What is not answered by then is an error.
_GRACE_S = 30


class Step(msgspec.Struct, frozen=True):
    """A request as it is sent to this server; see `bench.traced.Request`."""

    kind: str
    head: str
    status: int
    after: int
    pause_ms: int


class Plan(msgspec.Struct, frozen=True):
    """Who requests what from whom for how long."""

    port: int
    clients: int
    seconds: float
    traces: list[list[Step]]


class Replayed(msgspec.Struct):
    """What came of it."""

    #: By kind of request: how long each answer took, in ms.
    took_ms: dict[str, list[float]] = {}
    errors: int = 0
    #: What the first few errors were.
    examples: list[str] = []
    bytes: int = 0
    seconds: float = 0.0
    #: CPU time of this process.
    cpu_s: float = 0.0

    def failed(self, why: str) -> None:
        """Count an error."""
        self.errors += 1
        if len(self.examples) < 5:
            self.examples.append(why)


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answered: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None
        self.bytes = 0
        self.usable = True

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember where to write: a transport of uvloop's, which inherits nothing."""
        self._transport = transport

    def request(self, head: bytes) -> asyncio.Future[int]:
        """The status, when the whole answer has come; `ConnectionError` if it does not."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(head)
        return self._answered

    @override
    def data_received(self, data: bytes) -> None:
        """Count and parse."""
        self.bytes += len(data)
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Hand over the status."""
        self.usable = self._parser.should_keep_alive()
        if self._answered and not self._answered.done():
            self._answered.set_result(self._parser.get_status_code())
        self._parser = httptools.HttpResponseParser(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is not answered."""
        self.usable = False
        if self._answered and not self._answered.done():
            self._answered.set_exception(ConnectionError(f"cut off: {exc}"))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


class _Client:
    """One run of a trace: its connections, and how many requests were answered."""

    def __init__(self, port: int, replayed: Replayed) -> None:
        self._port = port
        self._replayed = replayed
        self._free: list[_Connection] = []
        self._answered = 0
        self._progress = asyncio.Event()

    async def run(self, trace: list[Step], deadline: float) -> None:
        """Send the requests in their order, until the deadline; returns when all are answered."""
        async with asyncio.TaskGroup() as tasks:
            for step in trace:
                while self._answered < step.after:
                    self._progress.clear()
                    await self._progress.wait()
                if step.pause_ms:
                    await asyncio.sleep(step.pause_ms / 1000)
                if time.perf_counter() > deadline:
                    break
                tasks.create_task(self._send(step))
        for connection in self._free:
            connection.close()

    async def _send(self, step: Step) -> None:
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(_GRACE_S):
                status = await self._exchange(step)
            if status != step.status:
                self._replayed.failed(f"{status} for {step.head.splitlines()[0]}")
        except (OSError, TimeoutError, httptools.HttpParserError) as error:
            self._replayed.failed(f"{error!r} for {step.head.splitlines()[0]}")
        took = (time.perf_counter() - begun) * 1000
        self._replayed.took_ms.setdefault(step.kind, []).append(took)
        self._answered += 1
        self._progress.set()

    async def _exchange(self, step: Step) -> int:
        connection = self._free.pop() if self._free else None
        if connection is None or not connection.usable:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        before = connection.bytes
        try:
            status = await connection.request(step.head.encode("latin-1"))
        except BaseException:
            connection.close()
            raise
        self._replayed.bytes += connection.bytes - before
        if connection.usable:
            self._free.append(connection)
        return status


async def replay(plan: Plan) -> Replayed:
    """What came of the plan."""
    replayed = Replayed()
    begun = time.perf_counter()
    deadline = begun + plan.seconds

    async def client(number: int) -> None:
        while time.perf_counter() < deadline:
            trace = plan.traces[number % len(plan.traces)]
            await _Client(plan.port, replayed).run(trace, deadline)
            number += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(plan.clients):
            tasks.create_task(client(number))
    replayed.seconds = time.perf_counter() - begun
    replayed.cpu_s = time.process_time()
    return replayed


def main() -> None:
    """Read a plan, write what came of it."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    replayed = uvloop.run(replay(plan))
    sys.stdout.buffer.write(msgspec.json.encode(replayed))


if __name__ == "__main__":
    main()
