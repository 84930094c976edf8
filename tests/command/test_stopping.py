"""How the command ends: by which signal, what it finishes, what it cuts, in both process models."""

import fcntl
import http.client
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typing_extensions import override

from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.serving import Server, comes_true, running, serving

WHEEL = build_wheel("foo", "1.0", files={"data": os.urandom(400_000)})
TARGET = f"/resources/foo/{WHEEL.filename}"
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


def _publish_slowly(upstream: Upstream, piece: int, delay_s: float) -> None:
    publish_json(upstream, [WHEEL])
    place = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
    upstream.on(place, Reply(body=WHEEL.content, piece=piece, piece_delay_s=delay_s))


class Download(threading.Thread):
    """A client that fetches the wheel: `content` is what it has got."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._address = urlsplit(server.url).netloc
        self.content = b""
        self.start()

    @override
    def run(self) -> None:
        """Fetch it."""
        with closing(http.client.HTTPConnection(self._address, timeout=30)) as connection:
            try:
                connection.request("GET", TARGET)
                response = connection.getresponse()
                while piece := response.read1(10_000):
                    self.content += piece
            except (http.client.HTTPException, OSError):
                return  # cut: what has come says so

    def begun(self) -> bool:
        """Whether some of it has come."""
        return self.content != b""


@contextmanager
def _transferring(
    tmp_path: Path, upstream: Upstream, *options: str
) -> Iterator[tuple[Server, Download]]:
    with serving(tmp_path, "--stream-http-resources", *options, upstream.simple) as server:
        download = Download(server)
        assert comes_true(download.begun)
        yield server, download


@WORKERS
def test_a_running_transfer_is_finished(tmp_path: Path, upstream: Upstream, workers: str) -> None:
    """A download under way when it is told to stop is completed, and nobody new is let in."""
    _publish_slowly(upstream, 50_000, 0.2)
    options = ("--workers", workers, "--shutdown-timeout", "30")
    with _transferring(tmp_path, upstream, *options) as (server, download):
        server.process.terminate()
        assert comes_true(lambda: not _is_let_in(server))
        assert download.is_alive()
        assert server.process.wait(30) == 0
        download.join()
    assert download.content == WHEEL.content


def _is_let_in(server: Server) -> bool:
    try:
        Connection(server).close()
    except ConnectionError:
        return False
    return True


class Connection(http.client.HTTPConnection):
    """A connection to the server."""

    def __init__(self, server: Server) -> None:
        super().__init__(urlsplit(server.url).netloc, timeout=20)
        self.connect()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_counts_once(
    tmp_path: Path, upstream: Upstream, number: signal.Signals
) -> None:
    """Sent to the whole group, as by Ctrl-C or a service manager, it still lets transfers end."""
    _publish_slowly(upstream, 50_000, 0.2)
    with _transferring(tmp_path, upstream, "--workers", "2") as (server, download):
        os.killpg(server.process.pid, number)
        assert server.process.wait(30) == 0
        download.join()
    assert download.content == WHEEL.content
    assert "died" not in server.log


@WORKERS
def test_what_takes_too_long_is_cut(tmp_path: Path, upstream: Upstream, workers: str) -> None:
    """After `--shutdown-timeout` transfers are cut: status 0, their lines, and no traceback."""
    _publish_slowly(upstream, 100, 0.5)
    options = ("--workers", workers, "--shutdown-timeout", "1")
    with _transferring(tmp_path, upstream, *options) as (server, download):
        assert server.stop() == 0
        download.join()
        log = server.log
    assert download.content != WHEEL.content
    assert log.count(TARGET) == 1
    assert "Traceback" not in log


@WORKERS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_twice_it_does_not_wait(
    tmp_path: Path, upstream: Upstream, workers: str, number: signal.Signals
) -> None:
    """A second signal ends a server that still waits for its transfers, with status 0."""
    _publish_slowly(upstream, 100, 0.5)
    options = ("--workers", workers, "--shutdown-timeout", "300")
    with _transferring(tmp_path, upstream, *options) as (server, download):
        server.process.send_signal(number)
        assert comes_true(lambda: not _is_let_in(server))
        assert server.process.poll() is None
        server.process.send_signal(number)
        assert server.process.wait(20) == 0
        download.join()
        assert "Traceback" not in server.log
    assert download.content != WHEEL.content


@WORKERS
def test_idle_connections_do_not_hold_it_up(tmp_path: Path, workers: str) -> None:
    """Connections on which nothing is asked are closed, and not waited for."""
    options = ("--workers", workers, "--shutdown-timeout", "300")
    with serving(tmp_path, *options, tmp_path) as server:
        connections = [Connection(server) for _ in range(8)]
        for connection in connections[:4]:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        assert server.stop() == 0
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("workers", ["1", "2", "3"])
def test_nobody_is_left_when_it_is_killed(tmp_path: Path, upstream: Upstream, workers: str) -> None:
    """Killed without a chance to stop its workers, it leaves none; what runs is finished."""
    _publish_slowly(upstream, 50_000, 0.2)
    options = ("--workers", workers, "--stream-http-resources")
    with serving(tmp_path, *options, upstream.simple) as server:
        download = Download(server)
        assert comes_true(download.begun)
        left = server.workers
        server.process.kill()
        server.process.wait()
        download.join()
        assert workers == "1" or download.content == WHEEL.content
        for pid in left:
            assert comes_true(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]
        assert not _is_let_in(server)


# --- SIGHUP --------------------------------------------------------------------------------------


@WORKERS
def test_a_closed_terminal_ends_it(tmp_path: Path, workers: str) -> None:
    """Where it has a terminal, SIGHUP says that this was closed: it stops, with status 0."""
    ours, terminal = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    options = ["--workers", workers, "--port", "0"]
    command = [sys.executable, "-m", "simple_repository_server", *options, str(tmp_path)]
    with running(
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=terminal,
            preexec_fn=take_terminal,  # noqa: PLW1509 - only a session of its own can take one
        )
    ) as process:
        os.close(terminal)
        assert process.stdout is not None
        assert b"serves" in process.stdout.readline()
        os.close(ours)  # the kernel tells the session
        assert process.wait(20) == 0


def _requested(server: Server, path: str) -> None:
    with closing(Connection(server)) as connection:
        connection.request("GET", path)
        connection.getresponse().read()


@WORKERS
def test_without_a_terminal_the_log_is_reopened(tmp_path: Path, workers: str) -> None:
    """After a rotation SIGHUP has all processes go on in the new file; no line is lost."""
    with serving(tmp_path, "--workers", workers, tmp_path) as server:
        for number in range(10):
            _requested(server, f"/before/{number}")
        assert server.logged("/before/9")
        log = next(tmp_path.glob("server-*.log"))
        old = log.rename(tmp_path / "rotated")
        server.process.send_signal(signal.SIGHUP)
        assert comes_true(log.exists)
        time.sleep(0.5)  # until each process has done it
        for number in range(20):
            _requested(server, f"/after/{number}")
        assert server.stop() == 0
        assert server.log.count("GET /after/") == 20
    assert old.read_text().count("GET /before/") == 10
    assert "/after/" not in old.read_text()


@WORKERS
def test_a_hangup_that_is_ignored_stays_so(tmp_path: Path, workers: str) -> None:
    """Started by `nohup`, it goes on."""
    options = ["--workers", workers, "--port", "0"]
    command = [sys.executable, "-m", "simple_repository_server", *options, str(tmp_path)]
    with running(
        subprocess.Popen(
            ["nohup", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)) as connection:
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        process.terminate()
        assert process.wait(20) == 0


def test_what_a_client_has_is_kept(tmp_path: Path, upstream: Upstream) -> None:
    """A server that is told to stop right after a download leaves the file to the next one."""
    large = build_wheel("foo", "2.0", files={"d": os.urandom(20_000_000)}, compressed=False)
    publish_json(upstream, [large], metadata=False)
    folder = tmp_path / "kept"
    with serving(tmp_path, "--files", "cache", "--cache-dir", folder, upstream.simple) as server:
        address = urlsplit(server.url).netloc
        with closing(http.client.HTTPConnection(address, timeout=30)) as connection:
            connection.request("GET", f"/resources/foo/{large.filename}")
            assert connection.getresponse().read() == large.content
            server.process.terminate()
        assert server.process.wait(30) == 0
    assert (folder / "files" / large.sha256[:2] / large.sha256[2:]).read_bytes() == large.content
