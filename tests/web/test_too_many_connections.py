"""More clients than there may be: the idle and the silent make room, the rest is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from simple_repository_server.observe.events import Event
from simple_repository_server.observe.server_events import ConnectionLimitReached
from simple_repository_server.testing.upstream import Upstream
from simple_repository_server.web.server.connections import Limits
from tests.web.hostile import FILE, LOOPS, PAGE, Client, hostile_index, still_answers, until
from tests.web.lane import get

pytestmark = pytest.mark.anyio

HEALTH = get("/healthz")


@pytest.fixture(params=LOOPS, ids=["uvloop", "asyncio"])
def anyio_backend(request: Any) -> Any:
    """Both event loops."""
    return request.param


FEW = Limits(max_connections=4, linger_s=0.3, sweep_s=0.05)
Come = Callable[..., Awaitable[Client]]


@pytest.fixture
async def come() -> AsyncIterator[Come]:
    """Clients that stay until the end of the test."""
    async with AsyncExitStack() as stack:

        async def come(port: int, data: bytes = b"", *, window: int = 0) -> Client:
            client = await stack.enter_async_context(Client(port, window=window))
            await client.send(data)
            return client

        yield come


async def _answered(client: Client, data: bytes = b"") -> None:
    await client.send(data)
    assert (await client.read()).startswith(b"HTTP/1.1 200 ")


async def test_the_oldest_idle_one_goes_first(
    tmp_path: Path, upstream: Upstream, come: Come
) -> None:
    """Beyond the limit, the connection that was idle longest is closed for the new one."""
    async with hostile_index(tmp_path, upstream, limits=FEW) as server:
        clients = []
        for _ in range(7):
            clients.append(await come(server.port, HEALTH))
            await _answered(clients[-1])
        assert [await c.read() for c in clients[:3]] == [b""] * 3
        for client in clients[3:]:
            await _answered(client, HEALTH)


async def test_new_ones_at_once_evict_as_many(
    tmp_path: Path, upstream: Upstream, come: Come
) -> None:
    """Clients that come in the same moment evict one idle connection each, not all the same."""
    async with hostile_index(tmp_path, upstream, limits=FEW) as server:
        idle = [await come(server.port, HEALTH) for _ in range(4)]
        for client in idle:
            await _answered(client)
        new = await asyncio.gather(*[come(server.port) for _ in range(4)])
        assert [await c.read() for c in idle] == [b""] * 4
        for client in new:
            await _answered(client, HEALTH)
        await until(lambda: server.connections.count == 4)


async def test_one_too_many_is_told_so(tmp_path: Path, upstream: Upstream, come: Come) -> None:
    """With none idle, new clients get 503 whole, the log one line, and it goes on later."""
    events: list[Event] = []
    async with hostile_index(tmp_path, upstream, events.append, limits=FEW) as server:
        busy = [await come(server.port, get(FILE), window=4096) for _ in range(4)]
        for client in busy:
            await client.read(100)
        for data in (get(PAGE), get(PAGE) * 50, b"GET", b"") * 3:
            received = await (await come(server.port, data)).read_all()
            assert received.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 2\r\n" in received
            assert received.endswith(b"There are too many connections to this server.\n")
        (event,) = [e for e in events if isinstance(e, ConnectionLimitReached)]
        assert "--max-connections" in event.text()
        busy[0].reset()
        await until(lambda: server.connections.count < 4)
        await still_answers(server.port)


async def test_silent_ones_make_room(tmp_path: Path, upstream: Upstream, come: Come) -> None:
    """Connections that do not send their request soon do not keep others out."""
    async with hostile_index(tmp_path, upstream, limits=FEW) as server:
        for number in range(4):
            await come(server.port, b"GET / HT"[: 8 * (number % 2)])
        await asyncio.sleep(1.2)
        for _ in range(3):
            await still_answers(server.port)
