"""Reloading: a new file is in force in every worker and drops no request; a bad one is refused."""

import fcntl
import http.client
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.serving import Server, children, comes_true, running, serving

WHEELS = {name: build_wheel(name) for name in ("foo", "bar")}
WORKERS = pytest.mark.parametrize("workers", [1, 2])


class Config:
    """The file, and the directories `foo` and `bar` with a wheel each."""

    def __init__(self, tmp_path: Path, **more: Any) -> None:
        self.path = tmp_path / "config.json"
        self.more = more
        self.folders = {name: str(tmp_path / name) for name in WHEELS}
        for name, wheel in WHEELS.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / wheel.filename).write_bytes(wheel.content)

    def write(self, indexes: dict[str, Any], **more: Any) -> None:
        """Replace the file, as editors and configuration managers do."""
        content = {"sources": self.folders, "indexes": indexes, **self.more, **more}
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(content))
        fresh.rename(self.path)


FOO: dict[str, Any] = {"main": {"sources": ["foo"]}}
BOTH: dict[str, Any] = {"main": {"sources": ["foo"]}, "team": {"sources": ["bar"]}}


@contextmanager
def _server(tmp_path: Path, config: Config) -> Iterator[Server]:
    with serving(tmp_path, config.path, module="tests.command.reloading_server") as server:
        workers = config.more.get("workers", 1)
        assert workers == 1 or comes_true(lambda: len(server.workers) == workers)
        yield server


def _status(server: Server, path: str, *, connections: int = 8) -> set[int]:
    """The statuses of the path over some connections, which all workers get some of."""
    found = set()
    for _ in range(connections):
        with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)) as one:
            one.request("GET", path)
            found.add(one.getresponse().status)
    return found


def _kill_one(server: Server) -> None:
    """Kill a worker, and wait for its successor."""
    before = server.workers
    os.kill(min(before), signal.SIGKILL)
    assert comes_true(lambda: len(server.workers - before) == 1 and len(server.workers) == 2)


def _hang_up(server: Server, *, times: int, workers: int) -> None:
    """Send SIGHUP, and wait until every worker has reloaded that many times in all."""
    server.process.send_signal(signal.SIGHUP)
    assert comes_true(lambda: server.log.count(" reloaded ") >= times * workers), server.log


class Hammer:
    """Requests in a row on one connection; `bad` are the answers that are not 200, and errors."""

    def __init__(self, server: Server, path: str) -> None:
        self._address, self._path = urlsplit(server.url).netloc, path
        self._stop = threading.Event()
        self.good = 0
        self.bad: list[object] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Hammer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        with closing(http.client.HTTPConnection(self._address, timeout=30)) as connection:
            while not self._stop.is_set():
                try:
                    connection.request("GET", self._path)
                    answer = connection.getresponse()
                    answer.read()
                except (http.client.HTTPException, OSError) as error:
                    self.bad.append(error)
                    return
                if answer.status == 200:
                    self.good += 1
                else:
                    self.bad.append(answer.status)


@WORKERS
def test_indexes_come_and_go_in_every_worker(tmp_path: Path, workers: int) -> None:
    """After SIGHUP a new index answers and a removed one is 404, whichever worker answers."""
    config = Config(tmp_path, workers=workers)
    config.write(FOO)
    with _server(tmp_path, config) as server:
        assert _status(server, "/team/simple/bar/") == {404}
        config.write(BOTH)
        _hang_up(server, times=1, workers=workers)
        assert _status(server, "/team/simple/bar/") == {200}
        config.write(FOO)
        _hang_up(server, times=2, workers=workers)
        assert _status(server, "/team/simple/bar/") == {404}
        assert _status(server, "/main/simple/foo/") == {200}


@WORKERS
def test_change_of_the_file_is_enough(tmp_path: Path, workers: int) -> None:
    """Without any signal a changed file is read within seconds, in every worker."""
    config = Config(tmp_path, workers=workers)
    config.write(FOO)
    with _server(tmp_path, config) as server:
        config.write(BOTH)
        assert comes_true(lambda: server.log.count(" reloaded ") >= workers), server.log
        assert _status(server, "/team/simple/bar/") == {200}


@WORKERS
def test_no_request_fails_during_reloads(tmp_path: Path, workers: int) -> None:
    """Pages and files that are in every version of the file are answered throughout."""
    config = Config(tmp_path, workers=workers)
    config.write(FOO)
    file = f"/resources/foo/{WHEELS['foo'].filename}"
    with _server(tmp_path, config) as server:
        paths = ["/simple/foo/", "/main/simple/foo/", "/simple/", file] * 2
        hammers = [Hammer(server, path) for path in paths]
        for one in hammers:
            one.__enter__()
        for number in range(10):
            config.write({**FOO, f"extra{number}": {"sources": ["bar"], "deny": ["x"] * number}})
            _hang_up(server, times=number + 1, workers=workers)
        for one in hammers:
            one.__exit__()
        assert [one.bad for one in hammers] == [[] for _ in hammers]
        assert all(one.good for one in hammers)


@WORKERS
def test_bad_file_changes_nothing_and_all_its_mistakes_are_logged_once(
    tmp_path: Path, workers: int
) -> None:
    """The settings before stay in force, also in a worker that starts only then."""
    config = Config(tmp_path, workers=workers)
    config.write(FOO)
    with _server(tmp_path, config) as server:
        config.write(BOTH)
        _hang_up(server, times=1, workers=workers)
        config.path.write_text("{ nonsense")
        server.process.send_signal(signal.SIGHUP)
        assert server.logged("first mistake")
        assert server.logged("second mistake")
        if workers > 1:
            _kill_one(server)
        assert comes_true(lambda: _status(server, "/team/simple/bar/") == {200})
        assert server.log.count("first mistake") == 1


@WORKERS
def test_an_empty_file_is_refused(tmp_path: Path, workers: int) -> None:
    """A file that was just truncated, to be written, would be valid and without a single rule."""
    (tmp_path / "foo").mkdir()
    wheel = WHEELS["foo"]
    (tmp_path / "foo" / wheel.filename).write_bytes(wheel.content)
    file = tmp_path / "srs.toml"
    file.write_text(f'workers = {workers}\n[sources.foo]\npath = "foo"\n')
    with serving(tmp_path, "--config", file) as server:
        assert workers == 1 or comes_true(lambda: len(server.workers) == workers)
        file.write_text("")
        server.process.send_signal(signal.SIGHUP)
        assert server.logged("is empty")
        assert _status(server, "/simple/foo/") == {200}


def test_new_worker_has_what_is_in_force(tmp_path: Path) -> None:
    """A worker that replaces a dead one serves what was reloaded last, not the first file."""
    config = Config(tmp_path, workers=2)
    config.write(FOO)
    with _server(tmp_path, config) as server:
        config.write(BOTH)
        _hang_up(server, times=1, workers=2)
        for _ in range(2):
            _kill_one(server)
        assert _status(server, "/team/simple/bar/", connections=20) == {200}


def test_what_takes_a_restart_is_logged_and_left(tmp_path: Path) -> None:
    """A changed port is named in the log; everything else of the file is in force."""
    config = Config(tmp_path)
    config.write(FOO)
    with _server(tmp_path, config) as server:
        config.write(BOTH, port=1)
        _hang_up(server, times=1, workers=1)
        assert "restart the server for: port" in server.log
        assert _status(server, "/team/simple/bar/") == {200}


def test_connections_and_pages_outlive_a_reload(tmp_path: Path, upstream: Upstream) -> None:
    """A source whose settings are the same is not asked again, nor connected to again."""
    publish_json(upstream, [build_wheel("remote")], max_age=600)
    config = Config(tmp_path)
    config.folders["remote"] = upstream.simple
    index = {"main": {"sources": ["foo", "remote"]}}
    config.write(index)
    with _server(tmp_path, config) as server:
        assert _status(server, "/simple/remote/") == {200}
        asked = len(upstream.requests)
        config.write({**index, "other": {"sources": ["remote"], "deny": ["nothing"]}})
        _hang_up(server, times=1, workers=1)
        assert _status(server, "/simple/remote/") == {200}
        assert _status(server, "/other/simple/remote/") == {200}
        assert len(upstream.requests) == asked


def test_download_through_a_removed_source_is_completed(tmp_path: Path, upstream: Upstream) -> None:
    """What is being sent when its source is removed is sent to its end."""
    wheel = build_wheel("remote", files={"data": os.urandom(400_000)})
    publish_json(upstream, [wheel])
    place = f"/files/{wheel.sha256[:2]}/{wheel.filename}"
    upstream.on(place, Reply(body=wheel.content, piece=40_000, piece_delay_s=0.2))
    config = Config(tmp_path, files="stream")
    config.folders["remote"] = upstream.simple
    config.write({"main": {"sources": ["foo", "remote"]}})
    with _server(tmp_path, config) as server:
        address = urlsplit(server.url).netloc
        with closing(http.client.HTTPConnection(address, timeout=30)) as connection:
            connection.request("GET", f"/resources/remote/{wheel.filename}")
            answer = connection.getresponse()
            begun = answer.read(1000)
            del config.folders["remote"]
            config.write(FOO)
            _hang_up(server, times=1, workers=1)
            assert _status(server, "/simple/remote/") == {404}
            assert begun + answer.read() == wheel.content


@WORKERS
def test_with_a_terminal_it_reloads_and_stops_only_when_that_is_gone(
    tmp_path: Path, workers: int
) -> None:
    """SIGHUP reloads a server that still has its terminal; closing the terminal ends it."""
    config = Config(tmp_path, workers=workers)
    config.write(FOO)
    log = tmp_path / "log"
    ours, terminal = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    command = [sys.executable, "-m", "tests.command.reloading_server", str(config.path)]
    with (
        log.open("a") as errors,
        running(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                preexec_fn=take_terminal,  # noqa: PLW1509 - only a session of its own can take one
            )
        ) as process,
    ):
        os.close(terminal)
        assert process.stdout is not None
        assert b"serves" in process.stdout.readline()
        assert workers == 1 or comes_true(lambda: len(children(process.pid)) == workers)
        config.write(BOTH)
        process.send_signal(signal.SIGHUP)
        assert comes_true(lambda: log.read_text().count(" reloaded ") >= workers)
        assert process.poll() is None
        os.close(ours)  # the kernel sends SIGHUP to the session
        assert process.wait(20) == 0
