"""Servers to compare: our command, our application elsewhere, bare servers, release 0.10."""

import functools
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

_START_S = 30
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
OLD_RELEASE = "simple-repository-server==0.10.0"


def free_port() -> int:
    """A port nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Running:
    """A running server, and what it costs."""

    def __init__(
        self, process: subprocess.Popen[bytes], url: str, started_s: float, log: Path
    ) -> None:
        self.process = process
        self.url = url
        self.log = log
        #: From the start of the process to its first answer.
        self.started_s = started_s

    def memory_mb(self) -> float:
        """The proportional set size of the whole process tree, in MB."""
        return sum(_pss_kb(pid) for pid in process_tree(self.process.pid)) / 1024

    @contextmanager
    def cpu(self) -> Iterator["Cpu"]:
        """The CPU time of the whole process tree while the block runs.

        Raises `RuntimeError` if one of its processes died meanwhile.
        """
        before = {pid: _cpu_s(pid) for pid in process_tree(self.process.pid)}
        spent = Cpu()
        try:
            yield spent
        finally:  # also where the block failed: this says why
            after = {pid: _cpu_s(pid) for pid in process_tree(self.process.pid)}
            if self.process.poll() is not None or not before.keys() <= after.keys():
                last = self.log.read_text(errors="replace")[-600:]
                raise RuntimeError(f"{self.url}: a process died; the last lines:\n{last}")
        spent.seconds = sum(after.values()) - sum(before.values())


class Cpu:
    """CPU time spent; 0 until it was measured."""

    seconds = 0.0


@contextmanager
def running(command: list[str], url: str, log: Path, **environment: str) -> Iterator[Running]:
    """A server from its first answer until the block is left."""
    begun = time.perf_counter()
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait(lambda: process.poll() is None, url, log)
            yield Running(process, url, time.perf_counter() - begun, log)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _wait(alive: Callable[[], bool], url: str, log: Path) -> None:
    parts = urlsplit(url)
    deadline = time.perf_counter() + _START_S
    while time.perf_counter() < deadline and alive():
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(parts.netloc, timeout=5)
            connection.request("GET", parts.path)
            if connection.getresponse().status < 500:
                connection.close()
                return
        time.sleep(0.005)
    raise RuntimeError(f"{url} did not answer; its last lines:\n{log.read_text()[-2000:]}")


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, pending = [], [pid]
    while pending:
        found.append(current := pending.pop())
        pending.extend(children.get(current, []))
    return found


def _pss_kb(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def _cpu_s(pid: int) -> float:
    """User and system time of a process, with all its threads; 0 once it is gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return 0.0


@contextmanager
def ours(root: Path, *arguments: str, cache: Path | None = None) -> Iterator[Running]:
    """The command of this checkout, one worker, with its logs in a file as nginx has them.

    With an empty cache folder of its own, unless one is given.
    """
    with command(sys.executable, root, *arguments, cache=cache) as server:
        yield server


@contextmanager
def command(
    python: str, root: Path, *arguments: str, cache: Path | None = None
) -> Iterator[Running]:
    """The command as it is installed for that interpreter; the rest as for `ours`."""
    port = free_port()
    cache = cache or root / f"cache-{port}"
    line = [python, "-m", "simple_repository_server", "--port", str(port), *arguments]
    url = f"http://127.0.0.1:{port}/healthz"
    with running(line, url, root / f"ours-{port}.log", XDG_CACHE_HOME=str(cache)) as server:
        server.url = f"http://127.0.0.1:{port}"
        yield server


def install_commit(commit: str, folder: Path) -> str:
    """An earlier commit of this project in an environment of its own; its interpreter."""
    git = ["git", "-C", str(Path(__file__).parent.parent)]
    found = subprocess.run(
        [*git, "rev-parse", "--short=12", f"{commit}^{{commit}}"], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    place = folder.absolute() / found.stdout.strip()
    python = place / ".venv" / "bin" / "python"
    if not (place / "done").exists():
        sources = place / "sources"
        sources.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run([*git, "archive", commit], capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", str(sources)], input=archive.stdout, check=True)
        subprocess.run([sys.executable, "-m", "venv", str(place / ".venv")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(sources)], check=True)
        (place / "done").touch()
    return str(python)


@functools.cache
def has_option(name: str) -> bool:
    """Whether the command of this checkout has the option."""
    command = [sys.executable, "-m", "simple_repository_server", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return f" {name} " in shown


@contextmanager
def ours_under(server: str, root: Path, *arguments: str) -> Iterator[Running]:
    """The application of this checkout under `granian` or plain `uvicorn`; see `bench.under`."""
    port = free_port()
    command = [sys.executable, "-m", "bench.under", server, str(port), *arguments]
    url = f"http://127.0.0.1:{port}/healthz"
    cache = {"XDG_CACHE_HOME": str(root / f"cache-{port}")}
    with running(command, url, root / f"under-{port}.log", **cache) as under:
        under.url = f"http://127.0.0.1:{port}"
        yield under


@contextmanager
def bare(server: str, root: Path, answer: bytes) -> Iterator[Running]:
    """A constant answer from bare `granian`, `uvicorn` or `httptools`; see `bench.bare`."""
    port = free_port()
    file = root / f"bare-{port}"
    file.write_bytes(answer)
    command = [sys.executable, "-m", "bench.bare", server, str(port), str(file)]
    with running(command, f"http://127.0.0.1:{port}/", root / f"bare-{port}.log") as process:
        yield process


@contextmanager
def old_release(executable: str, root: Path, *arguments: str) -> Iterator[Running]:
    """The existing release from the package index, as its own documentation starts it."""
    port = free_port()
    command = [executable, "--host", "127.0.0.1", "--port", str(port), *arguments]
    with running(command, f"http://127.0.0.1:{port}/nothing", root / f"old-{port}.log") as server:
        server.url = f"http://127.0.0.1:{port}"
        yield server


def install_old_release(folder: Path) -> str:
    """The old release in an environment of its own; the path of its command."""
    command = folder / "bin" / "simple-repository-server"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = str(folder / "bin" / "pip")
        subprocess.run(
            [pip, "install", "--quiet", "--only-binary", ":all:", OLD_RELEASE], check=True
        )
    return str(command)
