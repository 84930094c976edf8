"""The command against thousands of hostile connections, and with no descriptors left."""

import asyncio
import contextlib
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from simple_repository_server.testing.distributions import Built, build_wheel
from tests.clients.installers import installed, uv_install
from tests.serving import Server, serving
from tests.web.lane import get

NAMES = [f"srs-fixture-part-{number}" for number in range(8)]
WHEELS = [build_wheel(name, "1.0", files={"data": os.urandom(300_000)}) for name in NAMES]
BIG = build_wheel("srs-fixture-big", "1.0", files={"data": os.urandom(8_000_000)})
FILE = get(f"/resources/srs-fixture-big/{BIG.filename}")
NAMED = ("--allowed-host", "index.example")
PAGE, HEALTH = get(f"/simple/{NAMES[0]}/"), get("/healthz")
RESET = struct.pack("ii", 1, 0)


def _packages(folder: Path, *built: Built) -> Path:
    folder.mkdir()
    for one in built:
        (folder / one.filename).write_bytes(one.content)
    return folder


def _port(server: Server) -> int:
    return urlsplit(server.url).port or 0


def _ask(port: int, data: bytes = HEALTH, *, timeout_s: float = 20) -> bytes:
    """What comes for the data until the end, or until there is no more to come for a request."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as client:
        client.sendall(data)
        return client.recv(65536)


@contextlib.contextmanager
def _descriptors(wanted: int) -> Iterator[int]:
    """Have this process open so many files, or as many as it may: how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, possible), hard))
    try:
        yield possible
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- what hostile clients do, each on and on until it is closed, then again ----------------------

Hostile = Callable[[asyncio.AbstractEventLoop, socket.socket], object]


async def _silent(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    while await loop.sock_recv(client, 65536):
        pass


async def _idle(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    await loop.sock_sendall(client, HEALTH)
    await _silent(loop, client)


async def _slowloris(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    await loop.sock_sendall(client, b"GET /simple/ HTTP/1.1\r\nHost: a\r\nX: ")
    while True:
        await asyncio.sleep(1)
        await loop.sock_sendall(client, b"y")


async def _half_closed(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    await loop.sock_sendall(client, PAGE)
    client.shutdown(socket.SHUT_WR)
    await _silent(loop, client)
    await asyncio.sleep(1)


async def _resetting(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    await loop.sock_sendall(client, PAGE * 3 + FILE)
    await loop.sock_recv(client, 100)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await asyncio.sleep(1)


async def _garbage(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    await loop.sock_sendall(client, b"\x16\x03\x01" + os.urandom(500))
    await _silent(loop, client)
    await asyncio.sleep(1)


async def _unfinished_body(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    await loop.sock_sendall(client, get("/", "Content-Length: 99", method="POST"))
    await _silent(loop, client)


async def _stalled(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    await loop.sock_sendall(client, FILE * 2)
    await asyncio.sleep(60)


#: Most just sit there; the others come again each second.
KINDS: list[tuple[Hostile, float]] = [
    (_silent, 0.2), (_idle, 0.2), (_slowloris, 0.4), (_unfinished_body, 0.05), (_half_closed, 0.05),
    (_resetting, 0.03), (_garbage, 0.05), (_stalled, 0.02),
]  # fmt: skip


class _Attack:
    """So many connections at once, in a thread of their own."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._open = 0
        self.most = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "_Attack":
        self._thread.start()
        deadline = time.monotonic() + 20
        while self.most < self._count * 0.9:
            assert time.monotonic() < deadline, f"only {self.most} connections"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(20)

    def _run(self) -> None:
        self._task = self._loop.create_task(self._all())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for kind, part in KINDS:
                for _ in range(int(self._count * part)):
                    group.create_task(self._again(kind))

    async def _again(self, kind: Hostile) -> None:
        while True:
            with socket.socket() as client, contextlib.suppress(OSError):
                client.setblocking(False)
                await self._loop.sock_connect(client, ("127.0.0.1", self._port))
                self._open += 1
                self.most = max(self.most, self._open)
                try:
                    await kind(self._loop, client)  # type: ignore[misc]  # all are coroutines
                finally:
                    self._open -= 1
            await asyncio.sleep(0.2)


def _memory_kb(server: Server) -> int:
    lines = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:")))


def _install(folder: Path, server: Server) -> float:
    """How long a real client takes, with nothing in its cache."""
    folder.mkdir()
    begun = time.monotonic()
    result = uv_install(folder, server.simple, *NAMES)
    took = time.monotonic() - begun
    assert result.status == 0, result.output
    assert len(installed(folder)) == len(NAMES)
    return took


def test_an_install_beside_thousands_of_hostile_clients(tmp_path: Path) -> None:
    """A real client does not notice them, and they leave nothing behind."""
    packages = _packages(tmp_path / "packages", *WHEELS, BIG)
    with (
        _descriptors(6_500) as possible,
        serving(tmp_path, packages, *NAMED, "--no-cache") as server,
    ):
        port = _port(server)
        alone = min(_install(tmp_path / f"alone-{number}", server) for number in range(2))
        before = _memory_kb(server)
        with _Attack(port, min(5_000, possible - 1_000)) as attack:
            among = []
            for number in range(4):  # until the first deadlines are over
                among.append(_install(tmp_path / f"among-{number}", server))
                time.sleep(3)
            grown = _memory_kb(server) - before
        assert sorted(among)[1] < 8 * alone, "all but one may be slowed down by something else"
        assert grown < 100_000 + 10 * attack.most
        assert _ask(port).startswith(b"HTTP/1.1 200 ")
        assert server.stop() == 0
        for word in ("Traceback", "ERROR", "unexpected", "failed"):
            assert word not in server.log


def test_too_few_descriptors(tmp_path: Path) -> None:
    """A flood of a server that may open few files: it lives, refuses, says so once, and is back."""
    packages = _packages(tmp_path / "packages", WHEELS[0], BIG)
    with (
        _descriptors(1_000),
        serving(tmp_path, packages, *NAMED, "--no-cache", descriptors=200) as server,
        contextlib.ExitStack() as stack,
    ):
        port = _port(server)
        assert _ask(port, PAGE).startswith(b"HTTP/1.1 200 ")
        for number in range(500):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(FILE if number % 2 else HEALTH[:-2])
        assert server.logged("all 136 connections are in use, new ones are refused")
        time.sleep(1.5)  # those that did not send their request may be evicted now
        assert _ask(port).startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 "))
        stack.close()
        for _ in range(20):
            assert _ask(port).startswith(b"HTTP/1.1 200 ")
        assert server.stop() == 0
        log = server.log
    assert log.count("connections are in use, new ones are refused") == 1
    assert log.count("files this process may open are in use") <= 1
    assert "Traceback" not in log
    assert "Errno" not in log


def test_descriptors_that_others_took(tmp_path: Path) -> None:
    """Without any descriptor left, new clients wait, which is said once, and are answered later."""
    packages = _packages(tmp_path / "packages", WHEELS[0])
    with (
        serving(tmp_path, packages, *NAMED, "--no-cache") as server,
        contextlib.ExitStack() as stack,
    ):
        port, pid = _port(server), server.process.pid
        assert _ask(port).startswith(b"HTTP/1.1 200 ")
        limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, limit[1]))
        assert server.logged("files this process may open are in use: new connections wait")
        clients = []
        for _ in range(50):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=1))
            client.sendall(HEALTH)
            clients.append(client)
        with pytest.raises(TimeoutError):
            clients[0].recv(100)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        for client in clients:
            client.settimeout(10)
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.logged("new connections are accepted again")
        assert server.log.count("ERROR") == 1
