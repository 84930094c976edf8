"""Told to stop while it starts, the command ends at once and cleanly; with a client, in time."""

import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.serving import comes_true, running, serving

WHEEL = build_wheel("foo", "1.0", files={"data": os.urandom(2_000_000)})
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether the process catches or blocks the signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigCgt", "SigBlk"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


@WORKERS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay_s", [0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3])
def test_it_ends_cleanly_whenever_it_is_told_to(
    tmp_path: Path, number: signal.Signals, delay_s: float, workers: str
) -> None:
    """From when our code runs until it serves, both signals end it: status 0, and no traceback."""
    if not Path("/proc/self/status").exists():
        pytest.skip("what signals a process handles is read from /proc")
    options = ["--port", "0", "--workers", workers, "--log-level", "warning", str(tmp_path)]
    command = [sys.executable, "-m", "simple_repository_server", *options]
    with running(
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    ) as process:
        # Python handles SIGINT itself and a measurement of coverage SIGTERM; SIGHUP is only ours,
        # and the last of the three.
        assert comes_true(lambda: _handles(process.pid, signal.SIGHUP))
        time.sleep(delay_s)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")


@WORKERS
@pytest.mark.parametrize("delay_s", [0, 0.03, 0.1, 0.2])
def test_a_hangup_while_it_starts_is_not_its_end(
    tmp_path: Path, delay_s: float, workers: str
) -> None:
    """Without a terminal SIGHUP only has the log reopened, also where it comes too early."""
    if not Path("/proc/self/status").exists():
        pytest.skip("what signals a process handles is read from /proc")
    options = ["--port", "0", "--workers", workers, str(tmp_path)]
    command = [sys.executable, "-m", "simple_repository_server", *options]
    with running(
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
    ) as process:
        assert comes_true(lambda: _handles(process.pid, signal.SIGHUP))
        time.sleep(delay_s)
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        assert " serves " in process.stdout.readline()
        process.terminate()
        assert process.wait(20) == 0


def test_signals_are_handled_before_anything_is_loaded(tmp_path: Path) -> None:
    """The time in which a signal finds Python's own behaviour is that of Python's own start."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("what a process has loaded is read from /proc")
    command = [sys.executable, "-m", "simple_repository_server", "--port", "0", str(tmp_path)]
    with running(subprocess.Popen(command, stdout=subprocess.DEVNULL)) as process:
        # The first library of ours that is loaded: by then SIGTERM must be handled.
        assert comes_true(lambda: "msgspec" in Path(f"/proc/{process.pid}/maps").read_text())
        assert all(_handles(process.pid, number) for number in (signal.SIGTERM, signal.SIGHUP))
        process.terminate()
        assert process.wait(20) == 0


@WORKERS
@pytest.mark.parametrize("files", ["stream", "cache"])
def test_a_slow_download_does_not_hold_up_the_end(
    tmp_path: Path, upstream: Upstream, files: str, workers: str
) -> None:
    """By default it ends before the 10 s are over after which containers are killed: status 0."""
    publish_json(upstream, [WHEEL])
    place = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
    # The last 64 kB are held back until all is there: the first bytes come with the fifth piece.
    upstream.on(place, Reply(body=WHEEL.content, piece=20_000, piece_delay_s=0.5))
    with serving(tmp_path, "--files", files, "--workers", workers, upstream.simple) as server:
        with closing(http.client.HTTPConnection(urlsplit(server.url).netloc)) as connection:
            connection.request("GET", f"/resources/foo/{WHEEL.filename}")
            assert connection.getresponse().read1(100)
            server.process.terminate()
            assert server.process.wait(10) == 0
        assert "Traceback" not in server.log
