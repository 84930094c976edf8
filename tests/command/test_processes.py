"""Several workers: one that dies is replaced, all share the work, and one is enough to start."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typing_extensions import override

from simple_repository_server.cli.descriptors import default_max_connections
from simple_repository_server.cli.supervisor import restart_delay
from tests.serving import Server, children, comes_true, running, serving

WORKERS = ("--workers", "2")


class Client(threading.Thread):
    """Asks again and again on a connection it keeps, and once more where that broke."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._address = urlsplit(server.url).netloc
        self.answers = 0
        self.failures: list[str] = []
        self.done = threading.Event()
        self.start()

    @override
    def run(self) -> None:
        """Ask until told that it is enough."""
        connection = http.client.HTTPConnection(self._address, timeout=10)
        while not self.done.is_set():
            for attempt in range(3):
                try:
                    connection.request("GET", "/healthz")
                    assert connection.getresponse().read()
                except (http.client.HTTPException, OSError) as error:
                    connection.close()
                    if attempt == 2:
                        self.failures.append(repr(error))
                else:
                    self.answers += 1
                    break
        connection.close()


def test_a_killed_worker_is_replaced_under_load(tmp_path: Path) -> None:
    """The others go on, it is replaced, and clients that try again are all served."""
    with serving(tmp_path, *WORKERS, "--log-format", "json", tmp_path) as server:
        assert comes_true(lambda: len(server.workers) == 2)
        before = server.workers
        clients = [Client(server) for _ in range(8)]
        assert comes_true(lambda: all(client.answers > 20 for client in clients))
        killed, other = sorted(before)
        os.kill(killed, signal.SIGKILL)
        assert comes_true(lambda: len(server.workers - before) == 1)
        seen = [client.answers for client in clients]
        assert comes_true(
            lambda: all(c.answers > n + 20 for c, n in zip(clients, seen, strict=True))
        )
        for client in clients:
            client.done.set()
        for client in clients:
            client.join()
        assert [client.failures for client in clients] == [[]] * len(clients)
        assert other in server.workers
        [replacement] = server.workers - before
        assert server.logged("worker_replaced")
        lines = [json.loads(line) for line in server.log.splitlines()]
    [told] = [line for line in lines if line["event"] == "worker_replaced"]
    assert (told["pid"], told["replacement"]) == (killed, replacement)
    assert "signal 9" in told["reason"]


def test_who_waits_for_a_dead_worker_is_answered(tmp_path: Path) -> None:
    """Connections that a worker had not accepted when it died are its replacement's."""
    with serving(tmp_path, *WORKERS, tmp_path) as server:
        assert comes_true(lambda: len(server.workers) == 2)
        before = server.workers
        for pid in before:
            os.kill(pid, signal.SIGSTOP)
        connections = [_connection(server) for _ in range(16)]
        for connection in connections:
            connection.request("GET", "/healthz")
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        for connection in connections:
            assert connection.getresponse().status == 200
            connection.close()


def _connection(server: Server) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    connection.connect()
    return connection


def test_all_workers_get_their_share(tmp_path: Path) -> None:
    """Connections made one by one are spread over the workers, and not all of the first idle."""
    with serving(tmp_path, *WORKERS, tmp_path) as server:
        assert comes_true(lambda: len(server.workers) == 2)
        idle = {pid: _descriptors(pid) for pid in server.workers}
        connections = []
        for _ in range(64):
            connections.append(_connection(server))
            connections[-1].request("GET", "/healthz")
            connections[-1].getresponse().read()
        shares = [_descriptors(pid) - count for pid, count in idle.items()]
        for connection in connections:
            connection.close()
    assert min(shares) >= 10, shares


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_the_parent_of_workers_only_waits(tmp_path: Path) -> None:
    """It has one thread, so that it can be forked safely, and it does nothing while all is well."""
    with serving(tmp_path, *WORKERS, tmp_path) as server:
        assert comes_true(lambda: len(server.workers) == 2)
        place = Path(f"/proc/{server.process.pid}")
        time.sleep(0.3)
        switches = _context_switches(place)
        time.sleep(1)
        assert len(list((place / "task").iterdir())) == 1
        assert _context_switches(place) == switches


def _context_switches(place: Path) -> str:
    lines = (place / "status").read_text().splitlines()
    return next(line for line in lines if line.startswith("voluntary"))


def test_one_process_has_no_children(tmp_path: Path) -> None:
    """By default there is one process: what was started is what serves."""
    with serving(tmp_path, tmp_path) as server:
        assert server.workers == set()


def test_a_worker_told_to_stop_is_replaced(tmp_path: Path) -> None:
    """SIGTERM to one worker is a way to have a fresh one."""
    with serving(tmp_path, *WORKERS, tmp_path) as server:
        assert comes_true(lambda: len(server.workers) == 2)
        before = server.workers
        os.kill(min(before), signal.SIGTERM)
        assert comes_true(lambda: len(server.workers - before) == 1)
        assert server.logged("status 0")
        assert server.stop() == 0


# --- applications that fail ----------------------------------------------------------------------

_PROGRAM = """
import os, sys
from pathlib import Path
from simple_repository_server.cli.hangup import Hangup
from simple_repository_server.cli.listening import listen
from simple_repository_server.cli.supervisor import Supervisor
from simple_repository_server.cli.worker import Worker
from simple_repository_server.observe.logs import LogWriter, ThreadlessLog
from simple_repository_server.web.server.connections import Limits

log = LogWriter(sys.stderr)

class App:
    emit = log

    def peek(self, request):
        return None

    async def __call__(self, scope, receive, send):
        if scope["type"] != "lifespan":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
            return
        await receive()
        [fail]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

listeners = listen("127.0.0.1", 0, [workers])
worker = Worker(App(), log, hangup=Hangup.REOPEN, limits=Limits(), shutdown_timeout_s=8)
ready = lambda: print("serves", listeners[0].getsockname()[1], flush=True)
if [workers] == 1:
    status = worker.run_alone(listeners[0], ready)
else:
    log = ThreadlessLog(sys.stderr)
    status = Supervisor(
        worker, listeners, log, hangup=Hangup.REOPEN, shutdown_timeout_s=8, on_ready=ready
    ).run()
os._exit(status)
"""


def _program(fail: str, workers: int, folder: Path) -> subprocess.Popen[str]:
    """A server of an application that does that when it starts."""
    text = textwrap.dedent(_PROGRAM).replace("[fail]", fail).replace("[workers]", str(workers))
    return subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("fail", "text"),
    [
        ("raise OSError('there is no disk')", "there is no disk"),
        ("raise ValueError", "ValueError"),
        ("await send({'type': 'lifespan.startup.failed', 'message': 'not today'})", "not today"),
    ],
)
def test_what_cannot_start_says_so_once(tmp_path: Path, fail: str, text: str, workers: int) -> None:
    """An application that cannot start is one line and status 1, however many workers it has."""
    with running(_program(fail, workers, tmp_path)) as process:
        output, errors = process.communicate(timeout=30)
        assert process.returncode == 1
    assert output == ""
    assert errors.count("\n") == 1, errors
    assert text in errors


def test_a_first_worker_that_dies_is_told_of(tmp_path: Path) -> None:
    """If the first worker dies before it answers, that is one line and status 1, too."""
    with running(_program("os.kill(os.getpid(), 9)", 2, tmp_path)) as process:
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 1
    assert errors.count("\n") == 1
    assert "signal 9" in errors


def test_a_start_that_hangs_can_be_ended(tmp_path: Path) -> None:
    """SIGTERM ends it also while the application is still starting, with status 0."""
    for workers in (1, 2):
        fail = "Path('begun').touch(); await receive()"
        with running(_program(fail, workers, tmp_path)) as process:
            assert comes_true((tmp_path / "begun").exists)
            process.terminate()
            output, errors = process.communicate(timeout=20)
            assert (process.returncode, output, errors) == (0, "", "")
        (tmp_path / "begun").unlink()


def test_workers_that_keep_dying_are_tried_again(tmp_path: Path) -> None:
    """It serves on with those that live, tries again with pauses, and is whole when it can be."""
    fail = """
    if Path('broken').exists():
        os.kill(os.getpid(), 9)
    """
    with running(
        _program(textwrap.indent(textwrap.dedent(fail), " " * 8).strip(), 2, tmp_path)
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = int(process.stdout.readline().split()[1])
        assert comes_true(lambda: len(children(process.pid)) == 2)
        (tmp_path / "broken").touch()
        os.kill(min(children(process.pid)), signal.SIGKILL)
        for _ in range(3):
            assert "died (signal 9" in process.stderr.readline()
        (tmp_path / "broken").unlink()
        assert comes_true(lambda: len(children(process.pid)) == 2)
        for _ in range(10):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            with closing(connection):
                connection.request("GET", "/")
                assert connection.getresponse().status == 204
        process.terminate()
        assert process.wait(20) == 0


# --- decisions -----------------------------------------------------------------------------------


def test_the_first_death_is_made_good_at_once() -> None:
    """A worker is replaced at once, those that die young after up to 2 seconds, each longer."""
    assert restart_delay(0, 0.9) == 0
    pauses = [restart_delay(deaths, 1.0) for deaths in range(1, 2000)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.1
    assert pauses[-1] == 2
    assert restart_delay(7, 0.0) == 1


@pytest.mark.parametrize(
    ("descriptors", "connections"),
    [(0, 16), (64, 16), (100, 36), (1024, 896), (80_000, 70_000), (2**30, 100_000)],
)
def test_connections_leave_descriptors_for_files(descriptors: int, connections: int) -> None:
    """An eighth is left for other things, 64 at least; there are limits in both directions."""
    assert default_max_connections(descriptors) == connections


def test_too_many_connections_are_refused_with_what_is_possible(tmp_path: Path) -> None:
    """More than the limit on open files allows is one line that says what would do."""
    command = "ulimit -n 512; exec $0 -m simple_repository_server --max-connections 449 --port 0 ."
    result = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "448" in result.stderr
    assert result.stderr.count("\n") == 1


def test_as_many_connections_as_allowed_are_served(tmp_path: Path) -> None:
    """With `--max-connections 2` two clients are served at once."""
    with serving(tmp_path, "--max-connections", "2", tmp_path) as server:
        clients = [_connection(server) for _ in range(2)]
        for client in clients:
            client.request("GET", "/healthz")
            assert client.getresponse().status == 200
        for client in clients:
            client.close()


def test_the_soft_limit_on_open_files_is_no_limit(tmp_path: Path) -> None:
    """A soft limit of 64 is raised to the hard one: more clients than that are served at once."""
    command = "ulimit -S -n 64; exec $0 -m simple_repository_server --port 0 ."
    with running(subprocess.Popen(
        ["/bin/sh", "-c", command, sys.executable],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )) as process:  # fmt: skip
        assert process.stdout is not None
        port = urlsplit(process.stdout.readline().split()[-1]).port
        clients = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(100)]
        for client in clients:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        for client in clients:
            client.close()
        process.terminate()
