"""Files from descriptors: whole and in turn, whatever the socket, the file or the limits do."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simple_repository_server.web.server.sendfile import FileSender, Writable
from tests.web.hostile import LOOPS, open_descriptors, until

pytestmark = pytest.mark.anyio

CONTENT = os.urandom(7_000_000)
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=LOOPS, ids=["uvloop", "asyncio"])
def anyio_backend(request: Any) -> Any:
    """Both event loops."""
    return request.param


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """The two ends of a TCP connection that does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        server.setblocking(False)
        client.setblocking(False)
        yield server, client


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file of that content, open."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        yield file.fileno()


class _Sending:
    """A file on its way, and what was told of its end."""

    def __init__(
        self, server: socket.socket, descriptor: int, start: int = 0, count: int = len(CONTENT)
    ) -> None:
        self.ends: list[tuple[str, int]] = []
        self.sender = FileSender(server, descriptor, start, count, self._done)
        self._writable = Writable(asyncio.get_running_loop())

    def start(self) -> bool:
        return self.sender.start(self._writable, HEAD)

    def _done(self, error: OSError | None, sent: int) -> None:
        self.ends.append((str(error or ""), sent))


async def _read(client: socket.socket, size: int, *, at_once: int = 2**20) -> bytes:
    received = bytearray()
    async with asyncio.timeout(10):
        while len(received) < size:
            piece = await asyncio.get_running_loop().sock_recv(client, at_once)
            assert piece
            received += piece
            await asyncio.sleep(0)
    return bytes(received)


@pytest.mark.parametrize("part", [(0, 0), (0, 1), (5, 100_000), (1, 6_999_999), (0, 7_000_000)])
async def test_the_part_comes_behind_its_head(
    pair: Pair, descriptor: int, part: tuple[int, int]
) -> None:
    """The very bytes that were asked for, at once or as the client takes them; told once."""
    server, client = pair
    start, count = part
    sending = _Sending(server, descriptor, start, count)
    before = open_descriptors()
    was_all = sending.start()
    assert was_all == bool(sending.ends)
    assert await _read(client, len(HEAD) + count) == HEAD + CONTENT[start : start + count]
    await asyncio.sleep(0.05)
    assert sending.ends == [("", count)]
    assert open_descriptors() <= before
    sending.sender.cancel()
    assert len(sending.ends) == 1


async def test_a_slow_reader_holds_nobody_up(pair: Pair, descriptor: int) -> None:
    """While a client reads piece by piece, others have their turn."""
    server, client = pair
    sending = _Sending(server, descriptor)
    assert not sending.start()
    reading = asyncio.create_task(_read(client, len(HEAD) + len(CONTENT), at_once=50_000))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await reading).endswith(CONTENT)
    assert turns > 10
    assert not client.getblocking()
    assert not server.getblocking()


async def test_a_file_that_was_cut_short_is_an_error(
    pair: Pair, descriptor: int, tmp_path: Path
) -> None:
    """A file that has become shorter ends the transfer, which says how much was sent."""
    server, _ = pair
    os.truncate(tmp_path / "file", 1000)
    sending = _Sending(server, descriptor)
    assert sending.start()
    assert sending.ends == [("the file became shorter", 1000)]


@pytest.mark.parametrize("reset", [True, False])
async def test_a_client_that_goes_is_told_of_once(pair: Pair, descriptor: int, reset: bool) -> None:
    """It ends, in words for people, and leaves no descriptor."""
    server, client = pair
    sending = _Sending(server, descriptor)
    before = open_descriptors()
    assert not sending.start()
    if reset:
        client.close()
        await until(lambda: bool(sending.ends))
    else:
        sending.sender.cancel()
    sending.sender.cancel()
    ((error, sent),) = sending.ends
    assert error == "the client disconnected"
    assert 0 < sent < len(CONTENT)
    assert open_descriptors() <= before - reset


@contextmanager
def _no_descriptors() -> Iterator[None]:
    """All that this process may have are taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_it_needs_no_descriptors(pair: Pair, descriptor: int) -> None:
    """With no descriptor left in the process, the file still comes whole."""
    server, client = pair
    sending = _Sending(server, descriptor)
    with _no_descriptors():
        assert not sending.start()
        received = await _read(client, len(HEAD) + len(CONTENT))
    assert received == HEAD + CONTENT
    assert sending.ends == [("", len(CONTENT))]


async def test_many_at_once(descriptor: int) -> None:
    """Many slow transfers go on side by side; one that ends another in its turn does no harm."""
    writable = Writable(asyncio.get_running_loop())
    ends: list[int] = []
    senders: list[FileSender] = []

    def done(_: OSError | None, sent: int) -> None:
        ends.append(sent)
        senders[-1].cancel()

    with contextlib.ExitStack() as stack:
        clients = []
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for _ in range(20):
            client = stack.enter_context(socket.create_connection(listener.getsockname()))
            server = stack.enter_context(listener.accept()[0])
            for one in (client, server):
                one.setblocking(False)
            clients.append(client)
            senders.append(FileSender(server, descriptor, 0, len(CONTENT), done))
        for sender in senders:
            assert not sender.start(writable)
        read = [_read(client, len(CONTENT)) for client in clients[:-1]]
        assert set(await asyncio.gather(*read)) == {CONTENT}
        await until(lambda: len(ends) == 20)
        assert sorted(ends)[1:] == [len(CONTENT)] * 19
