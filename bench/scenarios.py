"""The scenarios: each yields rows of measured figures, ours beside the others' in one run."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from bench.fixtures import COLD_COPIES, FILE_PROJECT, SIZES, Fixtures, project_of
from bench.load import Load, fetch, median, wrk
from bench.servers import JSON_TYPE, Running, old_release, ours

FORMS = {"json": JSON_TYPE, "html": "text/html"}


class Row(msgspec.Struct, frozen=True):
    """One line of the result: a figure of each server, and how ours compares."""

    name: str
    unit: str
    ours: float
    nginx: float | None = None
    old: float | None = None
    #: More is better (requests per second), or less (milliseconds, bytes, MB).
    more_is_better: bool = True
    note: str = ""


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a scenario needs."""

    root: Path
    fixtures: Fixtures
    static: Path
    static_url: str
    upstream_url: str
    upstream_log: Path
    old: str | None
    seconds: int
    rounds: int


#: An address and headers for each server.
Targets = Mapping[str, tuple[str, Mapping[str, str]]]
Scenario = Callable[[Bench], Iterator[Row]]


def alternating(bench: Bench, targets: Targets, connections: int = 16) -> dict[str, Load]:
    """Load on each target in turn, round after round; the medians."""
    loads: dict[str, list[Load]] = {name: [] for name in targets}
    for _ in range(bench.rounds):
        for name, (url, headers) in targets.items():
            load = wrk(url, seconds=bench.seconds, connections=connections, headers=headers)
            if load.errors:
                raise RuntimeError(f"{load.errors} errors from {name} at {url}")
            loads[name].append(load)
    return {name: median(found) for name, found in loads.items()}


def rows(name: str, loads: Mapping[str, Load], figure: str = "per_s") -> Row:
    """The line for loads on several servers."""
    shown = {server: getattr(load, figure) for server, load in loads.items()}
    own = loads["ours"]
    note = f"p50 {own.p50_ms:.2f} ms, p99 {own.p99_ms:.2f} ms"
    if "nginx" in loads:
        note += f" (nginx {loads['nginx'].p50_ms:.2f}, {loads['nginx'].p99_ms:.2f})"
    unit = "req/s" if figure == "per_s" else "MB/s"
    return Row(name, unit, shown["ours"], shown.get("nginx"), shown.get("old"), note=note)


def warm_pages(bench: Bench) -> Iterator[Row]:
    """Pages of four sizes, in both forms and with and without gzip, and 304s."""
    index = f"{bench.upstream_url}/json/"
    with ours(bench.root, index) as server:
        for form, accept in FORMS.items():
            for size in SIZES:
                for coding in ("identity", "gzip"):
                    headers = {"Accept": accept, "Accept-Encoding": coding}
                    url = f"{server.url}/simple/{size}/"
                    _publish(bench.static, form, size, coding, fetch(url, headers)[2])
                    static = f"{bench.static_url}/{form}/{size}/"
                    targets = {"nginx": (static, headers), "ours": (url, headers)}
                    loads = alternating(bench, targets)
                    yield rows(f"{size} page, {form}, {coding}", loads)
        yield from _not_modified(bench, server)
        yield Row("memory after these pages", "MB", server.memory_mb(), more_is_better=False)
    if bench.old is not None:
        yield from _old_pages(bench, index)


def _publish(static: Path, form: str, size: str, coding: str, body: bytes) -> None:
    """Our very bytes as static files for nginx."""
    folder = static / form / size
    folder.mkdir(parents=True, exist_ok=True)
    suffix = ".gz" if coding == "gzip" else ""
    (folder / f"index.{form}{suffix}").write_bytes(body)


def _not_modified(bench: Bench, server: Running) -> Iterator[Row]:
    for size in ("medium", "huge"):
        targets: dict[str, tuple[str, Mapping[str, str]]] = {}
        for name, url in (
            ("nginx", f"{bench.static_url}/json/{size}/"),
            ("ours", f"{server.url}/simple/{size}/"),
        ):
            headers = {"Accept": JSON_TYPE}
            tag = fetch(url, headers)[1]["etag"]
            headers["If-None-Match"] = tag
            status = fetch(url, headers)[0]
            if status != 304:
                raise RuntimeError(f"{name} answered {status} to a conditional request")
            targets[name] = (url, headers)
        yield rows(f"304 for the {size} page", alternating(bench, targets))


def _old_pages(bench: Bench, index: str) -> Iterator[Row]:
    """The old release beside ours: it fetches and renders every page anew."""
    assert bench.old is not None
    headers = {"Accept": JSON_TYPE, "Accept-Encoding": "identity"}
    with old_release(bench.old, bench.root, index) as old, ours(bench.root, index) as server:
        for size in SIZES:
            targets = {
                "ours": (f"{server.url}/simple/{size}/", headers),
                "old": (f"{old.url}/simple/{size}/", headers),
            }
            yield rows(f"{size} page, json, against the old release", alternating(bench, targets))


def local_file(bench: Bench) -> Iterator[Row]:
    """A 17 MB file from a directory, to eight clients at once."""
    name = bench.fixtures.file.name
    link = bench.static / name
    if not link.exists():
        link.hardlink_to(bench.fixtures.file)
    with ours(bench.root, str(bench.fixtures.packages)) as server:
        target = f"/resources/{FILE_PROJECT}/{name}"
        targets: Targets = {
            "nginx": (f"{bench.static_url}/{name}", {}),
            "ours": (f"{server.url}{target}", {}),
        }
        yield rows("17 MB local file, 8 clients", alternating(bench, targets, 8), "mb_per_s")
        part = {"Range": "bytes=1000000-17000000"}
        targets = {server: (url, part) for server, (url, _) in targets.items()}
        yield rows("16 MB range of it, 8 clients", alternating(bench, targets, 8), "mb_per_s")
        yield Row("memory after that", "MB", server.memory_mb(), more_is_better=False)
    if bench.old is not None:
        packages = str(_by_project(bench))
        with old_release(bench.old, bench.root, packages) as old, ours(bench.root, packages) as own:
            both: Targets = {
                "ours": (f"{own.url}{target}", {}),
                "old": (f"{old.url}{target}", {}),
            }
            name = "17 MB local file, 8 clients, against the old release"
            yield rows(name, alternating(bench, both, 8), "mb_per_s")


def _by_project(bench: Bench) -> Path:
    """The layout the old release understands: a folder per project."""
    root = bench.root / "by-project"
    folder = root / FILE_PROJECT
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / bench.fixtures.file.name).hardlink_to(bench.fixtures.file)
    return root


def cold_pages(bench: Bench) -> Iterator[Row]:
    """The first answer for a page of 4,400 files, less what the upstream itself takes."""
    for kind in ("json", "html"):
        index = f"{bench.upstream_url}/{kind}/"
        headers = {"Accept": JSON_TYPE, "Accept-Encoding": "gzip"}
        names = [f"cold-{number}" for number in range(COLD_COPIES)]
        upstream = statistics.median(fetch(f"{index}{name}/")[3] for name in names)
        with ours(bench.root, index) as server:
            fetch(f"{server.url}/simple/small/", headers)
            own = statistics.median(
                fetch(f"{server.url}/simple/{name}/", headers)[3] - upstream for name in names
            )
        old = None
        if bench.old is not None:
            with old_release(bench.old, bench.root, index) as server:
                fetch(f"{server.url}/simple/small/", headers)
                old = statistics.median(
                    fetch(f"{server.url}/simple/{n}/", headers)[3] - upstream for n in names[:5]
                )
        yield Row(
            f"cold large page from {kind}, own time", "ms", own, old=old, more_is_better=False,
            note=f"upstream alone {upstream:.1f} ms",
        )  # fmt: skip


def held_up(bench: Bench) -> Iterator[Row]:
    """The longest anybody else waits while cold huge pages are read and rendered."""
    for kind in ("json", "html"):
        with ours(bench.root, f"{bench.upstream_url}/{kind}/") as server:
            small, huge = f"{server.url}/simple/small/", f"{server.url}/simple/huge/"
            fetch(small, {"Accept": JSON_TYPE})
            stop = threading.Event()
            waits: list[float] = []
            pinging = threading.Thread(target=_ping, args=(small, stop, waits))
            pinging.start()
            for accept in FORMS.values():
                for coding in ("identity", "gzip", "zstd"):
                    fetch(huge, {"Accept": accept, "Accept-Encoding": coding})
            stop.set()
            pinging.join()
            name = f"longest wait of others during cold huge pages from {kind}"
            note = f"median {statistics.median(waits):.1f} ms"
            yield Row(name, "ms", max(waits), more_is_better=False, note=note)


def _ping(url: str, stop: threading.Event, waits: list[float]) -> None:
    while not stop.is_set():
        waits.append(fetch(url, {"Accept": JSON_TYPE})[3])
        time.sleep(0.001)


def remote_metadata(bench: Bench) -> Iterator[Row]:
    """The metadata of a large wheel at an index without any: time, and bytes of the upstream."""
    wheel = bench.fixtures.wheel
    index = f"{bench.upstream_url}/html/"
    target = f"/resources/{project_of(wheel)}/{wheel.name.replace('+', '%2B')}.metadata"

    def ask(server: Running) -> tuple[float, float]:
        before = bench.upstream_log.stat().st_size
        status, _, _, took_ms = fetch(f"{server.url}{target}")
        if status != 200:
            raise RuntimeError(f"{target} is {status}")
        time.sleep(0.1)
        with bench.upstream_log.open() as log:
            log.seek(before)
            return took_ms, sum(int(line.split()[1]) for line in log) / 1000

    with ours(bench.root, index) as server:
        own = [ask(server) for _ in range(3)]
    old = None
    if bench.old is not None:
        with old_release(bench.old, bench.root, index) as server:
            old = [ask(server) for _ in range(2)]
    size = f"wheel of {wheel.stat().st_size / 1e6:.0f} MB"
    for number, which in enumerate(("first", "second")):
        (ms, kb), (old_ms, old_kb) = own[number], old[number] if old else (None, None)
        name = f"metadata of a remote wheel, {which} time"
        yield Row(name, "ms", ms, old=old_ms, more_is_better=False, note=size)
        yield Row(f"{name}: upstream sent", "kB", kb, old=old_kb, more_is_better=False)


def start(bench: Bench) -> Iterator[Row]:
    """From the start of the process to the first answer; memory when idle."""
    packages = str(_by_project(bench))
    own: list[float] = []
    old: list[float] = []
    memory: list[float] = []
    old_memory: list[float] = []
    for _ in range(5):
        with ours(bench.root, packages) as server:
            own.append(server.started_s * 1000)
            time.sleep(0.5)
            memory.append(server.memory_mb())
        if bench.old is not None:
            with old_release(bench.old, bench.root, packages) as server:
                old.append(server.started_s * 1000)
                time.sleep(0.5)
                old_memory.append(server.memory_mb())
    middle = statistics.median
    yield Row("start to first answer", "ms", middle(own), old=middle(old) if old else None,
              more_is_better=False)  # fmt: skip
    yield Row("memory when idle (PSS)", "MB", middle(memory),
              old=middle(old_memory) if old else None, more_is_better=False)  # fmt: skip


SCENARIOS: dict[str, Scenario] = {
    "warm": warm_pages,
    "file": local_file,
    "cold": cold_pages,
    "held-up": held_up,
    "metadata": remote_metadata,
    "start": start,
}
