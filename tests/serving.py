"""The command as a live server, in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import AnyStr

import pytest

_STARTED = re.compile(r"serves (http://\S+/)simple/")
_START_S = 30
_STOP_S = 30
_LOG_S = 5


class Server:
    """A running server: its addresses, its banner and its log."""

    def __init__(self, process: subprocess.Popen[str], url: str, banner: str, log: Path) -> None:
        self.process = process
        #: With a slash at its end.
        self.url = url
        self.banner = banner
        self._log = log

    @property
    def simple(self) -> str:
        """The address of the index."""
        return f"{self.url}simple/"

    @property
    def log(self) -> str:
        """All of stderr so far."""
        return self._log.read_text()

    def logged(self, text: str) -> bool:
        """Whether the log contains the text within 5 s: lines are written asynchronously."""
        deadline = time.monotonic() + _LOG_S
        while text not in self.log and time.monotonic() < deadline:
            time.sleep(0.02)
        return text in self.log

    @property
    def workers(self) -> set[int]:
        """The process ids of the workers."""
        return children(self.process.pid)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(_STOP_S)


def children(pid: int) -> set[int]:
    """The ids of its child processes, zombies included."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.exists():
        pytest.skip("the numbers of processes are read from /proc")
    return {int(one) for path in tasks.glob("*/children") for one in path.read_text().split()}


def comes_true(condition: Callable[[], object], within_s: float = _START_S) -> bool:
    """Whether the condition becomes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def running(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """The process, killed at the end of the block."""
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def serving(
    tmp_path: Path,
    *arguments: str | Path,
    descriptors: int | None = None,
    module: str = "simple_repository_server",
    **environment: str,
) -> Iterator[Server]:
    """The command with these arguments, on a free port, until the end of the block.

    `descriptors` limits its open files (`ulimit -n`). Another `module` chooses its port itself.
    """
    log = tmp_path / f"server-{os.urandom(3).hex()}.log"
    port = ["--port", "0"] if module == "simple_repository_server" else []
    command = [sys.executable, "-m", module, *port, *map(str, arguments)]
    if descriptors is not None:
        command = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(descriptors), *command]
    clean = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), **environment}
    with (
        log.open("a") as errors,
        subprocess.Popen(
            command,
            env=clean,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            banner = _read_banner(process)
            found = _STARTED.search(banner)
            assert found, f"it did not start: {banner} {log.read_text()}"
            yield Server(process, found[1], banner, log)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)


def _read_banner(process: subprocess.Popen[str]) -> str:
    """The lines up to the last one of the start-up message."""
    lines: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "uv pip install" in line:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(_START_S)
    return "".join(lines)
