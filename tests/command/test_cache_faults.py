"""The cache under a running server: killed processes, full and read-only disks, other servers."""

import concurrent.futures
import contextlib
import hashlib
import http.client
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from simple_repository_server.testing.distributions import Built, build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from tests.serving import Server, serving

WHEELS = [
    build_wheel(f"p{number}", "1.0", files={"data.bin": os.urandom(size)}, compressed=False)
    for number, size in enumerate((1_000, 90_000, 400_000, 2_000_000, 5_000_000))
]


def _target(built: Built) -> str:
    return f"/resources/{built.filename.partition('-')[0]}/{built.filename}"


def _fetch(url: str, target: str) -> tuple[int, bytes]:
    """Status and body; 0 if there is no complete answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    with contextlib.closing(connection):
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""


def _check_all(folder: Path) -> int:
    """Check every file of the cache against its name; how many there are."""
    files = [path for path in (folder / "files").rglob("*") if path.is_file()]
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest == path.parent.name + path.name
    return len(files)


def _until(what: str, true: object) -> None:
    deadline = time.monotonic() + 10
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(text) for text in found.stdout.split()]


def _workers(server: Server) -> list[int]:
    """The processes that answer: those below the command with a listening program in them."""
    return [
        pid
        for pid in _children(server.process.pid)
        if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_server_killed_at_any_moment_leaves_no_corrupt_file(
    upstream: Upstream, tmp_path: Path, seed: int
) -> None:
    """Killed again and again during 100 downloads, at clients or in the cache."""
    publish_json(upstream, WHEELS, metadata=False)
    dice = random.Random(seed)
    folder = tmp_path / "index"
    done = 0
    for _ in range(5):
        with serving(tmp_path, "--files", "cache", "--cache-dir", folder, upstream.simple) as one:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                wanted = [dice.choice(WHEELS) for _ in range(20)]
                answers = [pool.submit(_fetch, one.url, _target(built)) for built in wanted]
                time.sleep(dice.uniform(0.01, 0.25))
                os.killpg(one.process.pid, signal.SIGKILL)
                for built, answer in zip(wanted, answers, strict=True):
                    status, body = answer.result()
                    assert status == 0 or body == built.content
                    done += 1
            _check_all(folder)
    with serving(tmp_path, "--files", "cache", "--cache-dir", folder, upstream.simple) as server:
        for built in WHEELS:
            assert _fetch(server.url, _target(built)) == (200, built.content)
        _until("all are cached", lambda: _check_all(folder) == len(WHEELS))
    assert done == 100


def test_a_killed_worker_is_replaced(upstream: Upstream, tmp_path: Path) -> None:
    """Of two workers one is killed: the other serves on, and no corrupt file is cached."""
    publish_json(upstream, WHEELS, metadata=False)
    folder = tmp_path / "index"
    arguments = ("--workers", "2", "--files", "cache", "--cache-dir", folder, upstream.simple)
    with serving(tmp_path, *arguments) as server:
        _until("two workers", lambda: len(_workers(server)) == 2)
        for turn in range(2):
            # Workers that die within seconds of each other would be taken for a broken program.
            time.sleep(6 * turn)
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                answers = [(b, pool.submit(_fetch, server.url, _target(b))) for b in WHEELS * 4]
                time.sleep(0.05)
                victim = random.choice(_workers(server))
                os.kill(victim, signal.SIGKILL)
                for built, answer in answers:
                    status, body = answer.result()
                    assert status == 0 or body == built.content
            _until("it is replaced", lambda: len(set(_workers(server)) - {victim}) == 2)  # noqa: B023
        for built in WHEELS:
            _until("it serves", lambda: _fetch(server.url, _target(built))[1] == built.content)  # noqa: B023
        _check_all(folder)


def test_two_servers_share_a_folder(upstream: Upstream, tmp_path: Path) -> None:
    """Both serve the same files from one cache, requested at the same time."""
    publish_json(upstream, WHEELS, metadata=False)
    folder = tmp_path / "index"
    arguments = ("--files", "cache", "--cache-dir", folder, upstream.simple)
    with serving(tmp_path, *arguments) as one, serving(tmp_path, *arguments) as other:
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            answers = [
                (built, pool.submit(_fetch, server.url, _target(built)))
                for built in WHEELS * 4
                for server in (one, other)
            ]
        for built, answer in answers:
            assert answer.result() == (200, built.content)
        _until("all are cached", lambda: _check_all(folder) == len(WHEELS))
        pages = len([r for r in upstream.requests if r.target.startswith("/simple/")])
        assert pages <= 2 * len(WHEELS)


@contextlib.contextmanager
def _disk(folder: Path, options: str) -> Iterator[None]:
    """A small disk of its own at `folder`."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a disk needs more rights")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_reported_once_and_used_again(upstream: Upstream, tmp_path: Path) -> None:
    """On a disk that is too small all is served; with space files are cached again."""
    publish_json(upstream, WHEELS, metadata=False)
    folder = tmp_path / "small"
    with _disk(folder, "size=1m"):
        arguments = ("--files", "cache", "--cache-dir", folder / "index", upstream.simple)
        with serving(tmp_path, *arguments) as server:
            for built in WHEELS * 2:
                assert _fetch(server.url, _target(built)) == (200, built.content)
            assert server.logged("cannot be written (no space left on device)")
            assert server.log.count("cannot be written") == 1
            _check_all(folder / "index")
            subprocess.run(["mount", "-o", "remount,size=50m", folder], check=True)
            time.sleep(10.5)
            for built in WHEELS:
                assert _fetch(server.url, _target(built)) == (200, built.content)
            assert server.logged("can be written again")
            _until("it is cached", lambda: _check_all(folder / "index") == len(WHEELS))
        assert "Traceback" not in server.log


def test_a_disk_that_becomes_read_only(upstream: Upstream, tmp_path: Path) -> None:
    """Cached files are served from it, others without it."""
    publish_json(upstream, WHEELS, metadata=False)
    folder = tmp_path / "frozen"
    with _disk(folder, "size=50m"):
        arguments = ("--files", "cache", "--cache-dir", folder / "index", upstream.simple)
        with serving(tmp_path, *arguments) as server:
            assert _fetch(server.url, _target(WHEELS[2])) == (200, WHEELS[2].content)
            _until("it is cached", lambda: _check_all(folder / "index") == 1)
            freeze = ["mount", "-o", "remount,ro", str(folder)]
            _until("frozen", lambda: not subprocess.run(freeze, check=False).returncode)
            upstream.forget()
            for built in WHEELS * 2:
                assert _fetch(server.url, _target(built)) == (200, built.content)
            assert not [r for r in upstream.requests if WHEELS[2].filename in r.target]
            assert server.logged("cannot be written (read-only file system)")
        assert "Traceback" not in server.log


def test_a_folder_deleted_under_a_server_is_created_again(
    upstream: Upstream, tmp_path: Path
) -> None:
    """Clients do not notice."""
    publish_json(upstream, WHEELS, metadata=False)
    folder = tmp_path / "index"
    with serving(tmp_path, "--files", "cache", "--cache-dir", folder, upstream.simple) as server:
        for built in WHEELS:
            assert _fetch(server.url, _target(built)) == (200, built.content)
        _until("all are cached", lambda: _check_all(folder) == len(WHEELS))
        shutil.rmtree(folder)
        time.sleep(1.1)
        for built in WHEELS:
            assert _fetch(server.url, _target(built)) == (200, built.content)
        _until("all are cached", lambda: _check_all(folder) == len(WHEELS))
        assert "Traceback" not in server.log


def test_eviction_keeps_the_budget(upstream: Upstream, tmp_path: Path) -> None:
    """The least recently used files go in the background once the budget is exceeded."""
    wheels = [
        build_wheel(f"q{number}", "1.0", files={"d": os.urandom(400_000)}, compressed=False)
        for number in range(12)
    ]
    publish_json(upstream, wheels, metadata=False)
    folder = tmp_path / "index"
    arguments = ("--files", "cache", "--cache-size", "2MB", "--cache-dir", folder, upstream.simple)
    with serving(tmp_path, *arguments) as server:
        for built in wheels[:6]:
            assert _fetch(server.url, _target(built))[0] == 200
        _until("six are cached", lambda: _check_all(folder) == 6)
        for path in (folder / "files").rglob("*"):
            stat = path.stat()
            os.utime(path, (stat.st_atime - 1000, stat.st_mtime - 1000))
        for built in wheels[6:8]:
            assert _fetch(server.url, _target(built)) == (200, built.content)
        assert server.logged("from the cache at")
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        assert size <= 2_000_000
        cached = {p.parent.name + p.name for p in (folder / "files").rglob("*") if p.is_file()}
        assert {built.sha256 for built in wheels[6:8]} <= cached


def test_a_server_refuses_a_foreign_folder(tmp_path: Path) -> None:
    """Nothing is written into, or removed from, a folder that holds other files."""
    (tmp_path / "files").mkdir()
    (tmp_path / "thesis.txt").write_text("years of work")
    command = [sys.executable, "-m", "simple_repository_server", "--cache-dir", str(tmp_path), "."]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 2
    assert "is not empty and is not a simple-repository-server cache" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == [
        "files",
        "thesis.txt",
    ]
