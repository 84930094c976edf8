"""The first answer: cold pages and metadata, whom they hold up, and the start of the process."""

import statistics
import threading
import time
from collections.abc import Iterator

from bench.fixtures import COLD_COPIES, project_of
from bench.load import fetch_ok, took_ms
from bench.results import Row, single
from bench.scenario import Bench
from bench.scenarios.files import by_project
from bench.scenarios.pages import FORMS
from bench.servers import JSON_TYPE, Running, old_release, ours


def cold_pages(bench: Bench) -> Iterator[Row]:
    """The first answer for a page of 4,400 files, less what the upstream itself takes."""
    for kind in ("json", "html"):
        index = f"{bench.upstream_url}/{kind}/"
        headers = {"Accept": JSON_TYPE, "Accept-Encoding": "gzip"}
        names = [f"cold-{number}" for number in range(COLD_COPIES)]
        upstream = statistics.median(took_ms(f"{index}{name}/") for name in names)
        with ours(bench.root, index) as server:
            took_ms(f"{server.url}/simple/small/", headers)
            own = statistics.median(
                took_ms(f"{server.url}/simple/{name}/", headers) - upstream for name in names
            )
        old = None
        if bench.old is not None:
            with old_release(bench.old, bench.root, index) as server:
                took_ms(f"{server.url}/simple/small/", headers)
                old = statistics.median(
                    took_ms(f"{server.url}/simple/{n}/", headers) - upstream for n in names[:5]
                )
        yield single(
            f"cold large page from {kind}, own time", "ms", own, old=old,
            note=f"upstream alone {upstream:.1f} ms",
        )  # fmt: skip


def held_up(bench: Bench) -> Iterator[Row]:
    """The longest anybody else waits while cold huge pages are read and rendered."""
    for kind in ("json", "html"):
        with ours(bench.root, f"{bench.upstream_url}/{kind}/") as server:
            small, huge = f"{server.url}/simple/small/", f"{server.url}/simple/huge/"
            fetch_ok(small, {"Accept": JSON_TYPE})
            stop = threading.Event()
            waits: list[float] = []
            pinging = threading.Thread(target=_ping, args=(small, stop, waits))
            pinging.start()
            for accept in FORMS.values():
                for coding in ("identity", "gzip", "zstd"):
                    fetch_ok(huge, {"Accept": accept, "Accept-Encoding": coding})
            stop.set()
            pinging.join()
            name = f"longest wait of others during cold huge pages from {kind}"
            note = f"median {statistics.median(waits):.1f} ms"
            yield single(name, "ms", max(waits), note=note)


def _ping(url: str, stop: threading.Event, waits: list[float]) -> None:
    while not stop.is_set():
        waits.append(took_ms(url, {"Accept": JSON_TYPE}))
        time.sleep(0.001)


def remote_metadata(bench: Bench) -> Iterator[Row]:
    """The metadata of a large wheel at an index without any: time, and bytes of the upstream."""
    wheel = bench.fixtures.wheel
    index = f"{bench.upstream_url}/html/"
    target = f"/resources/{project_of(wheel)}/{wheel.name.replace('+', '%2B')}.metadata"

    def ask(server: Running) -> tuple[float, float]:
        before = bench.nginx.upstream_log.stat().st_size
        took = took_ms(f"{server.url}{target}")
        time.sleep(0.1)
        with bench.nginx.upstream_log.open() as log:
            log.seek(before)
            return took, sum(int(line.split()[1]) for line in log) / 1000

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
        yield single(name, "ms", ms, old=old_ms, note=size)
        yield single(f"{name}: upstream sent", "kB", kb, old=old_kb)


def start(bench: Bench) -> Iterator[Row]:
    """From the start of the process to the first answer; memory when idle."""
    packages = str(by_project(bench))
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
    yield single("start to first answer", "ms", middle(own),
                 old=middle(old) if old else None)  # fmt: skip
    yield single("memory when idle (PSS)", "MB", middle(memory),
                 old=middle(old_memory) if old else None)  # fmt: skip
