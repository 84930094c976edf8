"""The command: what it prints, what it refuses, how it starts and stops."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.version import __version__
from tests.serving import Server, comes_true, running, serving

WHEEL = build_wheel("foo", "1.0")
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simple_repository_server", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def _get(server: Server, target: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    with closing(connection):
        connection.request(method, target, headers=headers)
        with connection.getresponse() as response:
            return response.status, response.read()


def _packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / WHEEL.filename).write_bytes(WHEEL.content)
    return folder


# --- what it refuses -----------------------------------------------------------------------------


def test_port_in_use_is_rejected() -> None:
    """The server does not share a port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = _run("--port", str(taken.getsockname()[1]), ".")
    assert result.returncode == 2
    assert "address already in use" in result.stderr


@WORKERS
def test_port_that_another_program_would_share_is_rejected(workers: str) -> None:
    """A port in use is rejected even if its owner set `SO_REUSEPORT`."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = _run("--workers", workers, "--port", str(taken.getsockname()[1]), ".")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1


@WORKERS
def test_second_server_on_a_port_is_rejected(tmp_path: Path, workers: str) -> None:
    """A second server on the port of a first one does not start."""
    with serving(tmp_path, "--workers", workers, _packages(tmp_path)) as server:
        port = server.url.rstrip("/").rpartition(":")[2]
        result = _run("--workers", workers, "--port", port, ".")
    assert result.returncode == 2


@WORKERS
def test_of_two_servers_started_at_once_on_a_port_one_serves(workers: str) -> None:
    """Of two servers started on one port at the same time, one serves and one is rejected."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--workers", workers]
    command = [sys.executable, "-m", "simple_repository_server", *options, "."]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    with both[0], both[1]:
        # Empty for the one that ends without having served.
        served = [process.stdout.readline() != b"" for process in both if process.stdout]
        for process in both:
            process.terminate()
    assert sorted(served) == [False, True]


def test_invalid_netrc_is_reported_without_its_content(tmp_path: Path) -> None:
    """The error has the file, the line and the remedy, but nothing of the content."""
    path = tmp_path / "netrc"
    path.write_text("machine x login y secretword\n")
    result = _run("https://host.example/simple/", NETRC=str(path))
    assert result.returncode == 2
    assert str(path) in result.stderr
    assert "secretword" not in result.stderr


def test_version_and_help_are_shown() -> None:
    """`--version` and `--help` print to stdout and end with status 0."""
    assert __version__ in _run("--version").stdout
    text = _run("--help").stdout
    for option in ("--host", "--port", "--stream-http-resources", "--log-format", "SOURCE"):
        assert option in text


# --- how it starts and stops ---------------------------------------------------------------------


def test_start_message_lists_sources_and_install_commands(
    tmp_path: Path, upstream: Upstream
) -> None:
    """The message has the address, the sources in their order, and commands to copy."""
    folder = _packages(tmp_path)
    url = upstream.simple.replace("//", "//alice:secret@")
    with serving(tmp_path, folder, upstream.simple, url) as server:
        banner = server.banner
        assert f"1. {folder} (directory)" in banner
        assert f"2. {upstream.simple} (remote index, files by redirect)" in banner
        assert f"3. {upstream.simple} (remote index with credentials, files through" in banner
        assert f"pip install --index-url {server.simple} PROJECT" in banner
        assert f"uv pip install --default-index {server.simple} PROJECT" in banner
        assert "secret" not in banner
        # It is printed when the server answers, not before.
        assert _get(server, "/healthz")[0] == 200


def test_start_message_warns_if_other_machines_can_connect(tmp_path: Path) -> None:
    """The message warns of missing authentication and shows `--trusted-host`."""
    with serving(tmp_path, "--host", "0.0.0.0", _packages(tmp_path)) as server:
        assert server.banner.splitlines()[-1].startswith("  uv pip install")
        assert _get(server, "/healthz")[0] == 200


def test_host_may_be_a_name(tmp_path: Path) -> None:
    """`--host localhost` listens on the address of that name."""
    with serving(tmp_path, "--host", "localhost", _packages(tmp_path)) as server:
        assert "http://localhost:" in server.banner
        assert "--trusted-host" not in server.banner
        assert _get(server, "/healthz")[0] == 200


@WORKERS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_server_with_status_0(
    tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    """A signal stops the server with status 0 and no unexpected output."""
    options = ("--log-level", "warning", "--workers", workers)
    with serving(tmp_path, *options, _packages(tmp_path)) as server:
        assert _get(server, "/simple/foo/")[0] == 200
        assert server.stop(number) == 0
        assert server.log == ""


@WORKERS
@pytest.mark.parametrize("delay_s", [0.05, 0.1, 0.15, 0.2, 0.3, 0.4])
def test_signal_during_start_ends_it_at_once(tmp_path: Path, delay_s: float, workers: str) -> None:
    """A signal before the server is ready ends it without waiting for the shutdown timeout."""
    options = ["--port", "0", "--workers", workers, "--shutdown-timeout", "60"]
    command = [sys.executable, "-m", "simple_repository_server", *options, str(tmp_path)]
    with running(subprocess.Popen(command, stdout=subprocess.DEVNULL)) as process:
        time.sleep(delay_s)
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("closed", ["<&- 2>&-", "<&- >&- 2>&-"])
def test_server_runs_with_closed_standard_streams(
    tmp_path: Path, closed: str, workers: str
) -> None:
    """With closed standard streams the server works, and writes no output into connections."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = f"--workers {workers} --port {port} ."
    command = f'exec "{sys.executable}" -m simple_repository_server {options} {closed}'
    shell = ["/bin/sh", "-c", command]
    with running(subprocess.Popen(shell, stdout=subprocess.DEVNULL, cwd=tmp_path)) as process:
        for _ in range(6):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                assert comes_true(partial(_answers, connection))
                connection.request("GET", "/healthz")
                assert b"alive" in connection.getresponse().read()
        process.terminate()
        assert process.wait(10) == 0


@WORKERS
def test_full_stdout_pipe_does_not_block_the_server(tmp_path: Path, workers: str) -> None:
    """The server serves and stops although nobody reads its start message."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reading, writing = os.pipe()
    _fill(writing)
    options = ["--workers", workers, "--port", str(port), str(tmp_path)]
    command = [sys.executable, "-m", "simple_repository_server", *options]
    with running(subprocess.Popen(command, stdout=writing)) as process:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        with closing(connection):
            assert comes_true(partial(_answers, connection))
        process.terminate()
        assert process.wait(10) == 0
    os.close(reading)
    os.close(writing)


def _fill(pipe: int) -> None:
    """Write into the pipe until it takes no byte more."""
    os.set_blocking(pipe, False)
    for size in (65536, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, bytes(size))
    os.set_blocking(pipe, True)


@WORKERS
def test_path_that_stdout_cannot_encode_is_served(tmp_path: Path, workers: str) -> None:
    """The path is served; in the start message it has question marks."""
    folder = tmp_path / "pakiety-ż"
    folder.mkdir()
    with serving(tmp_path, "--workers", workers, folder, PYTHONIOENCODING="ascii") as server:
        assert f"{tmp_path}/pakiety-? (directory)" in server.banner
        assert _get(server, "/healthz")[0] == 200


def _answers(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().read() != b""
    except ConnectionError:
        connection.close()
        return False


def test_every_response_has_server_and_date(tmp_path: Path) -> None:
    """`Server` is the plain name of the server, `Date` is the time of the response."""
    with serving(tmp_path, _packages(tmp_path)) as server:
        for target in ("/simple/foo/", "/nothing"):
            with closing(http.client.HTTPConnection(urlsplit(server.url).netloc)) as connection:
                before = int(time.time())
                connection.request("GET", target)
                answer = connection.getresponse()
                dates = answer.headers.get_all("date", [])
                assert answer.headers.get_all("server") == ["simple-repository-server"]
                assert len(dates) == 1
                date = parsedate_to_datetime(dates[0]).timestamp()
                assert before - 1 <= date <= time.time()
            time.sleep(0.7)


# --- streams under the real server ---------------------------------------------------------------


def test_disconnected_client_stops_its_transfer(tmp_path: Path, upstream: Upstream) -> None:
    """When the client disconnects, the transfer from the index is aborted."""
    wheel = build_wheel("foo", "1.0", files={"data": os.urandom(20_000_000)})
    publish_json(upstream, [wheel])
    place = f"/files/{wheel.sha256[:2]}/{wheel.filename}"
    upstream.on(place, Reply(body=wheel.content, piece_delay_s=0.01))
    with serving(tmp_path, "--stream-http-resources", upstream.simple) as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
        connection.request("GET", f"/resources/foo/{wheel.filename}")
        connection.getresponse().read(1000)
        connection.close()
        time.sleep(0.5)
        before = upstream.sent
        time.sleep(1.0)
        assert upstream.sent - before < 2_000_000


def test_disconnected_client_stops_a_short_transfer(tmp_path: Path, upstream: Upstream) -> None:
    """A file short enough to be sent in one write is not read on for a client that has left."""
    wheel = build_wheel("foo", "1.0", files={"data": os.urandom(50_000)})
    publish_json(upstream, [wheel])
    place = f"/files/{wheel.sha256[:2]}/{wheel.filename}"
    upstream.on(place, Reply(body=wheel.content, piece=500, piece_delay_s=0.05))
    with serving(tmp_path, "--stream-http-resources", upstream.simple) as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
        connection.request("GET", f"/resources/foo/{wheel.filename}")
        assert comes_true(lambda: upstream.seen(place) != [])
        connection.close()
        time.sleep(2.0)
        before = upstream.sent
        time.sleep(1.0)
        assert upstream.sent - before < 2_000
