"""Directories of many files: each page once after a first and a second start; 100,000 files."""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from bench.load import fetch, fetch_ok
from bench.page_sweep import sweep
from bench.results import Row, single
from bench.scenario import Bench
from bench.servers import JSON_TYPE, Running, ours
from simple_repository_server.testing.distributions import core_metadata

PROJECTS, FILES_EACH = 500, 20
#: The same sizes as small pure-Python wheels; and wheels of which mostly the content counts.
SMALL_BYTES, LARGE_BYTES = (1_000, 4_000), (100_000, 300_000)
MANY_PROJECTS = 5_000
_HASH_PROCESSES = 2
_WAIT_S = 120.0


def directories(bench: Bench) -> Iterator[Row]:
    """10,000 wheels in 500 folders beside nginx and `sha256sum`; 100,000 nested and flat."""
    for called, sizes in (("2-5 kB", SMALL_BYTES), ("100-300 kB", LARGE_BYTES)):
        folder = bench.root / "directory"
        write_wheels(folder, PROJECTS, sizes)
        yield from _first_start(bench, folder, called)
        if sizes == SMALL_BYTES:
            yield from _second_start(bench, folder)
        shutil.rmtree(folder)
    for layout in ("a folder per project", "one folder"):
        folder = bench.root / "many"
        write_wheels(folder, MANY_PROJECTS, SMALL_BYTES, flat=layout == "one folder")
        yield from _many(bench, folder, layout)
        shutil.rmtree(folder)


def write_wheels(root: Path, projects: int, sizes: tuple[int, int], *, flat: bool = False) -> None:
    """20 wheels of each project, the same each time, in a folder for each project or in one."""
    random = Random(1)
    noise = random.randbytes(max(sizes))
    for project in map(project_name, range(projects)):
        folder = root if flat else root / project
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(FILES_EACH):
            start = random.randrange(len(noise) - min(sizes))
            size = random.randint(*sizes)
            _write_wheel(folder, project, f"1.{number}.0", noise[start : start + size])


def project_name(number: int) -> str:
    """The project of that number."""
    return f"bench-{number:05}"


def _write_wheel(folder: Path, project: str, version: str, content: bytes) -> None:
    stem = f"{project.replace('-', '_')}-{version}"
    metadata = core_metadata(project, version, requires_python=">=3.9")
    members = {
        f"{project}/data.bin": content,
        f"{stem}.dist-info/METADATA": metadata,
        f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
        f"{stem}.dist-info/RECORD": b"",
    }
    with ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for name, member in members.items():
            info = ZipInfo(name, (2024, 1, 17, 16, 53, 12))
            archive.writestr(info, member, ZIP_DEFLATED if member is metadata else 0)


def _first_start(bench: Bench, folder: Path, called: str) -> Iterator[Row]:
    """From the first answer until each page came, no digest known, beside `sha256sum`."""
    reference, own, started = [], [], []
    for round_ in range(bench.rounds):
        reference.append(_sha256sum(folder))
        cache = bench.root / f"first-{round_}-{len(called)}"
        with ours(bench.root, str(folder), cache=cache) as server:
            own.append(sweep(server.url, _targets(PROJECTS), 8).total_ms)
            started.append(server.started_s * 1000)
        shutil.rmtree(cache, ignore_errors=True)
    name = f"first start, {PROJECTS} pages of 10,000 wheels of {called}, 8 connections"
    note = f"nginx: sha256sum of the tree, {_HASH_PROCESSES} processes; start {started[-1]:.0f} ms"
    yield single(
        name, "ms", statistics.median(own), nginx=statistics.median(reference), note=note
    )  # fmt: skip


def _sha256sum(folder: Path) -> float:
    command = f"find . -type f -print0 | xargs -0 -P{_HASH_PROCESSES} -n 250 sha256sum"
    begun = time.perf_counter()
    subprocess.run(["sh", "-c", command], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begun) * 1000


def _second_start(bench: Bench, folder: Path) -> Iterator[Row]:
    """Each page once after a start with all digests in the store; nginx sends the same bodies."""
    cache = bench.root / "second"
    targets = _targets(PROJECTS)
    with ours(bench.root, str(folder), cache=cache) as server:
        bodies = sweep(server.url, targets, 8).bodies
    for target, body in bodies.items():
        page = bench.static / "json" / "directory" / target.split("/")[-2] / "index.json"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_bytes(body)
    static = [target.replace("/simple/", "/json/directory/") for target in targets]
    for connections in (1, 8):
        own, nginx = [], []
        for _ in range(bench.rounds):
            nginx.append(sweep(bench.nginx.static_url, static, connections).total_ms)
            with ours(bench.root, str(folder), cache=cache) as server:
                own.append(sweep(server.url, targets, connections).total_ms)
        yield single(
            f"second start, {PROJECTS} pages of 10,000 wheels, {connections} connections", "ms",
            statistics.median(own), nginx=statistics.median(nginx),
        )  # fmt: skip


def _targets(projects: int) -> list[str]:
    return [f"/simple/{project_name(number)}/" for number in range(projects)]


def _many(bench: Bench, folder: Path, layout: str) -> Iterator[Row]:
    """100,000 files: start, memory and how soon a new file shows."""
    cache = bench.root / "many-cache"
    for called in ("first", "second"):
        with ours(bench.root, str(folder), cache=cache) as server:
            begun = time.perf_counter()
            _until(lambda: fetch(f"{server.url}/readyz")[0] == 200)
            fetch_ok(f"{server.url}{_targets(MANY_PROJECTS)[-1]}", {"Accept": JSON_TYPE})
            ready_s = server.started_s + time.perf_counter() - begun
            name = f"{called} start of 100,000 wheels in {layout}"
            yield single(f"{name}: ready, and a page", "s", ready_s)
            _until(lambda: _is_idle(server))
            yield single(f"{name}: memory", "MB", server.memory_mb())
            if called == "second":
                yield from _new_files(server, folder, layout)
    shutil.rmtree(cache, ignore_errors=True)


def _new_files(server: Running, folder: Path, layout: str) -> Iterator[Row]:
    waits = []
    for number in range(5):
        project, version = project_name(number), f"9.{number}"
        place = folder if layout == "one folder" else folder / project
        page = f"{server.url}/simple/{project}/"
        _write_wheel(place, project, version, b"new")
        begun = time.perf_counter()
        wanted = f"-{version}-py3".encode()
        _until(lambda page=page, wanted=wanted: wanted in fetch(page)[2])
        waits.append(time.perf_counter() - begun)
    with server.cpu() as cpu:
        begun = time.perf_counter()
        longest_ms = 0.0
        while time.perf_counter() < begun + 5:
            longest_ms = max(longest_ms, fetch(f"{server.url}/simple/{project_name(7)}/")[3])
            time.sleep(0.01)
    name = f"100,000 wheels in {layout}"
    yield single(f"{name}: a new file is on its page after", "s", max(waits))
    yield single(f"{name}: longest wait for a page in 5 s", "ms", longest_ms)
    yield single(f"{name}: CPU time in 5 s of 80 pages/s", "s", cpu.seconds)


def _is_idle(server: Running) -> bool:
    """Whether it did nothing for a second: all digests are computed."""
    with server.cpu() as cpu:
        time.sleep(1)
    return cpu.seconds < 2 / os.sysconf("SC_CLK_TCK")


def _until(condition: object) -> None:
    deadline = time.perf_counter() + _WAIT_S
    while not condition():  # type: ignore[operator]
        if time.perf_counter() > deadline:
            raise RuntimeError("not within the deadline")
        time.sleep(0.01)
