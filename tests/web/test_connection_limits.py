"""Clients that are slow, silent, half closed, gone or too many, with limits short enough to see."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from simple_repository_server.observe.events import Event, InternalFailure
from simple_repository_server.observe.server_events import ConnectionCut
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.web.server.connections import Limits
from tests.web.hostile import (
    CONTENTS,
    FILE,
    LOOPS,
    PAGE,
    REMOTE,
    STREAM,
    Client,
    finished,
    hostile_index,
    open_descriptors,
    still_answers,
    until,
)
from tests.web.lane import get

pytestmark = pytest.mark.anyio

SHORT = Limits(
    head_s=0.5, idle_s=0.5, linger_s=0.5, discard_s=0.5, stall_s=0.8, slow_s=60, sweep_s=0.05
)
#: A large answer: from memory, from a descriptor, or in chunks that come from elsewhere.
WAYS = [(FILE, True), (FILE, False), (STREAM, False)]
IDS = ["memory", "descriptor", "stream"]


@pytest.fixture(params=LOOPS, ids=["uvloop", "asyncio"])
def anyio_backend(request: Any) -> Any:
    """Both event loops."""
    return request.param


# --- deadlines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "status"),
    [(b"", b""), (b"GET /", b"408"), (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"408")],
)
async def test_a_head_has_a_deadline(
    tmp_path: Path, upstream: Upstream, begin: bytes, status: bytes
) -> None:
    """Who sends a byte at a time, or nothing, is closed at the deadline of a head: 408, or nothing.

    Each byte does not make it later.
    """
    async with hostile_index(tmp_path, upstream, limits=SHORT) as server, Client(server.port) as c:
        await c.send(begin)
        begun = time.monotonic()
        drip = asyncio.create_task(_drip(c)) if begin else None
        received = await c.read_all(within_s=5)
        assert received.split(b" ")[1:2] == ([status] if status else [])
        assert time.monotonic() - begun > 0.4
        if drip:
            drip.cancel()
        await until(lambda: server.connections.count == 0)


async def _drip(client: Client) -> None:
    while True:
        await client.send(b"a")
        await asyncio.sleep(0.05)


async def test_silence_after_a_request_has_a_deadline(tmp_path: Path, upstream: Upstream) -> None:
    """A connection is kept between requests, and closed without a word when it stays idle."""
    async with hostile_index(tmp_path, upstream, limits=SHORT) as server, Client(server.port) as c:
        for _ in range(4):  # each request begins the time anew
            await c.send(get("/healthz"))
            assert (await c.read()).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(0.3)
        assert await c.read(within_s=5) == b""


async def test_a_body_that_never_comes_has_a_deadline(tmp_path: Path, upstream: Upstream) -> None:
    """Who announces a body and does not send it has its answer, and is closed."""
    async with hostile_index(tmp_path, upstream, limits=SHORT) as server, Client(server.port) as c:
        await c.send(get("/", "Content-Length: 1000", method="POST") + b"abc")
        assert (await c.read_all(within_s=8)).startswith(b"HTTP/1.1 405 ")


# --- clients that go away ------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "in_memory"), WAYS, ids=IDS)
@pytest.mark.parametrize("warm", [False, True])
async def test_a_half_closed_client_gets_all(
    tmp_path: Path, upstream: Upstream, target: str, in_memory: bool, warm: bool
) -> None:
    """A client that sends no more after its requests gets all answers whole, and the end."""
    async with hostile_index(tmp_path, upstream, in_memory=in_memory) as server:
        for _ in range(1 + warm):
            async with Client(server.port, window=40_000) as client:
                await client.send(get("/healthz") + get(target) + get(target))
                client.half_close()
                received = await client.read_all()
                assert received.count(b"HTTP/1.1 200 OK") == 3
                assert received.endswith(CONTENTS[target])
                assert received.count(CONTENTS[target][-5000:]) == 2


@pytest.mark.parametrize(("target", "in_memory"), WAYS, ids=IDS)
async def test_resets_in_every_phase_leave_nothing(
    tmp_path: Path, upstream: Upstream, target: str, in_memory: bool
) -> None:
    """Clients that reset before, in, between and behind requests cost no descriptor and no error.

    The answer that broke off is logged as cut off.
    """
    events: list[Event] = []
    behind = get(target) * 3
    phases = [(b"", 0), (b"GET", 0), (get(target), 0), (get(target), 300_000), (behind, 300_000)]
    async with hostile_index(tmp_path, upstream, events.append, in_memory=in_memory) as server:
        before = open_descriptors()
        for data, taken in phases * 2:
            async with Client(server.port, window=20_000) as client:
                await client.send(data)
                received = 0
                while received < taken:
                    received += len(await client.read(4096))
                await asyncio.sleep(0.05)
                client.reset()
        await until(lambda: server.connections.count == 0)
        await still_answers(server.port)
        # Two that are kept open for the next request, and one upstream.
        await until(lambda: open_descriptors() <= before + 3)
    assert [e for e in events if isinstance(e, InternalFailure)] == []
    cut = [line for line in finished(events, target) if line.error]
    assert all(line.error == "cut off: the client disconnected" for line in cut), cut
    assert cut or in_memory


# --- readers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "in_memory"), WAYS, ids=IDS)
@pytest.mark.parametrize("close", [False, True])
async def test_a_stalled_reader_is_cut(
    tmp_path: Path, upstream: Upstream, target: str, in_memory: bool, close: bool
) -> None:
    """A client that takes nothing is cut off, which is said once, and its descriptors closed."""
    events: list[Event] = []
    lines = ("Connection: close",) * close
    async with hostile_index(
        tmp_path, upstream, events.append, limits=SHORT, in_memory=in_memory
    ) as server:
        before = open_descriptors()
        for _ in range(2):  # the second time all is at hand
            events.clear()
            async with Client(server.port, window=4096) as client:
                await client.send(get(target, *lines))
                await client.read(100)
                await until(lambda: server.connections.count == 0, within_s=8)
                await until(lambda: bool(finished(events, target)))
                (line,) = finished(events, target)
                said = [line.error] if line.error else []
                said += [e.text() for e in events if isinstance(e, ConnectionCut)]
                assert len(said) == 1
                assert said[0].endswith("the client received nothing for 0.8 s")
        await until(lambda: open_descriptors() <= before + 3)
        await still_answers(server.port)
    assert [e for e in events if isinstance(e, InternalFailure)] == []


@pytest.mark.parametrize("last", [40_000, 5_000])
async def test_a_reader_that_stalls_at_the_end_is_cut(
    tmp_path: Path, upstream: Upstream, last: int
) -> None:
    """What is left for a client that stops reading near the end does not stay for ever."""
    async with (
        hostile_index(tmp_path, upstream, limits=SHORT, in_memory=True) as server,
        Client(server.port, window=4096) as client,
    ):
        await client.send(get(FILE, "Connection: close"))
        (connection,) = await _connections(server)
        while connection.transport.get_write_buffer_size() > last:
            await client.read(4096)
        await until(lambda: server.connections.count == 0, within_s=8)


async def _connections(server: Any) -> tuple[Any, ...]:
    await until(lambda: bool(server.state.connections))
    await asyncio.sleep(0.1)
    return tuple(server.state.connections)


@pytest.mark.parametrize(("target", "in_memory"), WAYS, ids=IDS)
async def test_a_slow_reader_gets_all(
    tmp_path: Path, upstream: Upstream, target: str, in_memory: bool
) -> None:
    """Who reads slowly, but fast enough, gets all, long after idle ones would have to go."""
    limits = Limits(
        head_s=0.5, idle_s=0.5, linger_s=0.5, stall_s=1, slow_s=1, slow_rate=100_000, sweep_s=0.05
    )
    async with (
        hostile_index(tmp_path, upstream, limits=limits, in_memory=in_memory) as server,
        Client(server.port, window=100_000) as client,
    ):
        await client.send(get(target, "Connection: close"))
        received = bytearray()
        begun = time.monotonic()
        while piece := await client.read(100_000):
            received += piece
            await asyncio.sleep(max(0, begun + len(received) / 5_000_000 - time.monotonic()))
        assert received.endswith(CONTENTS[target])


async def test_a_reader_that_is_too_slow_is_cut(tmp_path: Path, upstream: Upstream) -> None:
    """Who takes a little now and then, but too little over minutes, is cut off."""
    events: list[Event] = []
    limits = Limits(stall_s=60, slow_s=0.5, slow_rate=100_000, sweep_s=0.1)
    async with (
        hostile_index(tmp_path, upstream, events.append, limits=limits) as server,
        Client(server.port, window=4096) as client,
    ):
        await client.send(get(FILE))
        with pytest.raises(ConnectionResetError):
            for _ in range(100):
                await client.read(2000)
                await asyncio.sleep(0.1)
        await until(lambda: bool(finished(events, FILE)))
        assert finished(events, FILE)[0].error == (
            "cut off: the client received less than 100000 bytes/s for 0.5 s"
        )


async def test_requests_without_reading_are_bounded(tmp_path: Path, upstream: Upstream) -> None:
    """A client that asks and asks, and reads nothing, is held up, then cut."""
    async with hostile_index(tmp_path, upstream, limits=SHORT, in_memory=True) as server:
        async with Client(server.port, window=4096) as client:
            sending = asyncio.create_task(client.send(get(PAGE) * 400_000))
            (connection,) = await _connections(server)
            await until(lambda: connection.flow.write_paused)
            assert connection.transport.get_write_buffer_size() < 1_000_000
            await until(lambda: server.connections.count == 0, within_s=15)
            await asyncio.gather(sending, return_exceptions=True)
        await still_answers(server.port)


# --- whatever is left of the request -------------------------------------------------------------


async def test_an_answer_is_not_lost_for_an_unread_body(tmp_path: Path, upstream: Upstream) -> None:
    """Who sends 100 MB to be refused, then reads, gets the whole answer and a proper end."""
    async with hostile_index(tmp_path, upstream) as server:
        for lines in ((), ("Connection: close",), ("Expect: 100-continue",)):
            async with Client(server.port) as client:
                size = 100_000_000
                await client.send(get(PAGE, f"Content-Length: {size}", *lines, method="POST"))
                for _ in range(100):
                    await client.send(b"x" * (size // 100))
                received = await client.read_all()
                assert received.startswith(b"HTTP/1.1 405 ")
                assert b"connection: close\r\n" in received
                assert received.count(b"HTTP/1.1") == 1


async def test_a_stream_of_unknown_length_to_http_1_0(tmp_path: Path, upstream: Upstream) -> None:
    """A client of HTTP/1.0, which knows no chunks, gets the plain bytes until the end."""
    async with hostile_index(tmp_path, upstream) as server:
        place = f"/files/{REMOTE.sha256[:2]}/{REMOTE.filename}"
        upstream.on(place, Reply(body=REMOTE.content, length=-1))
        for version, framed in ((b"1.0", False), (b"1.1", True)):
            async with Client(server.port) as client:
                await client.send(get(STREAM, "Connection: close").replace(b"1.1", version, 1))
                head, _, body = (await client.read_all()).partition(b"\r\n\r\n")
                assert (b"chunked" in head or b"content-length" in head) >= framed
                assert b"chunked" not in head or framed
                if not framed or b"chunked" not in head:
                    assert body == REMOTE.content
