"""The scenarios of the cache: files through each mode, joining, restarts, mixed load, installs."""

import asyncio
import bisect
import itertools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import msgspec

from bench.big_list import NAMES, measure, write_lists
from bench.load import Download, download, fetch
from bench.published import Published, fill_cache, publish
from bench.scenarios import Bench, Row, alternating, rows
from bench.servers import JSON_TYPE, Running, nginx, nginx_proxy, ours

_FILE_BYTES, _JOINERS = 17_000_000, 25
_ZIPF_PROJECTS, _MIXED_CLIENTS = 500, 16
_INSTALLED = 45
_MANY_PAGES = 2_000


def _resource(server: Running, published: Published) -> str:
    return f"{server.url}/resources/{published.project}/{published.filename}"


def _page(server: Running, published: Published) -> None:
    fetch(f"{server.url}/simple/{published.project}/", {"Accept": JSON_TYPE})


def files(bench: Bench) -> Iterator[Row]:
    """A 17 MB file through each mode, cold and warm, beside nginx doing the same."""
    count = max(3, bench.rounds)
    upstream = bench.fixtures.upstream
    cold = [publish(upstream, f"cold-file-{number}", _FILE_BYTES) for number in range(count)]
    index = f"{bench.upstream_url}/json/"
    with (
        nginx_proxy(bench.root, bench.upstream_url) as proxy,
        ours(bench.root, "--files", "stream", index) as stream,
        ours(bench.root, "--files", "cache", index) as cache,
    ):
        got: dict[str, list[Download]] = {}
        for published in cold:
            for server in (stream, cache):
                _page(server, published)
            for name, url in (
                ("upstream", f"{bench.upstream_url}{published.path}"),
                ("pass", f"{proxy}/pass{published.path}"),
                ("stream", _resource(stream, published)),
                ("proxy_cache", f"{proxy}/cache{published.path}"),
                ("cache", _resource(cache, published)),
            ):
                found = download(url)
                if (found.status, found.bytes) != (200, published.size):
                    raise RuntimeError(f"{url}: {found}")
                got.setdefault(name, []).append(found)
        yield from _cold_rows(got)
        targets: Mapping[str, tuple[str, Mapping[str, str]]] = {
            "nginx": (f"{proxy}/cache{cold[0].path}", {}),
            "ours": (_resource(cache, cold[0]), {}),
        }
        loads = alternating(bench, targets, 8)
        yield rows("17 MB file, warm cache (nginx: proxy_cache), 8 clients", loads, "mb_per_s")
        yield Row("memory after that", "MB", cache.memory_mb(), more_is_better=False)


def _cold_rows(got: Mapping[str, list[Download]]) -> Iterator[Row]:
    def middle(name: str, figure: str) -> float:
        return float(statistics.median(getattr(found, figure) for found in got[name]))

    for own, other in (("stream", "pass"), ("cache", "proxy_cache"), ("cache", "pass")):
        name = f"17 MB file, cold, --files {own} (nginx: {other})"
        yield Row(name, "MB/s", middle(own, "mb_per_s"), middle(other, "mb_per_s"))
    alone = middle("upstream", "first_byte_ms")
    for own, other in (("stream", "pass"), ("cache", "proxy_cache")):
        yield Row(
            f"first byte of a cold file, --files {own}", "ms", middle(own, "first_byte_ms"),
            middle(other, "first_byte_ms"), more_is_better=False,
            note=f"upstream alone {alone:.1f} ms",
        )  # fmt: skip


def join(bench: Bench) -> Iterator[Row]:
    """Twenty-five clients want one cold file of an upstream at 10 MB/s."""
    upstream = bench.fixtures.upstream
    ratios: list[float] = []
    transfers: list[int] = []
    last: list[float] = []
    with ours(bench.root, "--files", "cache", f"{bench.upstream_url}/json/") as server:
        for turn in range(max(1, bench.rounds // 2)):
            one, many = (
                publish(upstream, f"join-{turn}-{which}", _FILE_BYTES, place="slow")
                for which in ("one", "many")
            )
            for published in (one, many):
                _page(server, published)
            alone = download(_resource(server, one)).total_ms
            with ThreadPoolExecutor(_JOINERS) as pool:
                url = _resource(server, many)
                found = list(pool.map(download, [url] * _JOINERS))
            if any((one.status, one.bytes) != (200, many.size) for one in found):
                raise RuntimeError("not every client got the file")
            last.append(max(one.total_ms for one in found))
            ratios.append(last[-1] / alone)
            time.sleep(0.1)
            log = bench.upstream_log.read_text().splitlines()
            transfers.append(sum(1 for line in log if line.startswith(f"{many.path} ")))
    name = f"{_JOINERS} clients, one cold file"
    note = f"{statistics.median(ratios):.2f} times that of one alone"
    yield Row(f"{name}: the last one done", "ms", statistics.median(last), more_is_better=False,
              note=note)  # fmt: skip
    yield Row(f"{name}: upstream transfers", "", max(transfers), more_is_better=False)


def restart(bench: Bench) -> Iterator[Row]:
    """From the start to the first page, with 10 GB of cache."""
    cache = bench.root / "large-cache"
    index = f"{bench.upstream_url}/json/"
    page = "/simple/large/"
    with ours(bench.root, index, cache=cache) as server:
        fetch(f"{server.url}{page}", {"Accept": JSON_TYPE})
        time.sleep(0.5)
    folder = cache / "simple-repository-server" / "index"
    count = fill_cache(folder, 10_000_000_000, 1_000_000)
    took: list[float] = []
    for _ in range(max(3, bench.rounds)):
        with ours(bench.root, index, cache=cache) as server:
            begun = time.perf_counter()
            fetch(f"{server.url}{page}", {"Accept": JSON_TYPE})
            took.append((server.started_s + time.perf_counter() - begun) * 1000)
    yield Row("restart with 10 GB of cache to the first large page", "ms",
              statistics.median(took), more_is_better=False, note=f"{count} files")  # fmt: skip
    shutil.rmtree(cache)


def many_pages(bench: Bench) -> Iterator[Row]:
    """Memory after 2,000 different pages of 48 files."""
    template = (bench.fixtures.upstream / "json" / "medium" / "index.json").read_text()
    names = [f"many-{number}" for number in range(_MANY_PAGES)]
    for name in names:
        folder = bench.fixtures.upstream / "json" / name
        folder.mkdir()
        (folder / "index.json").write_text(template.replace("medium", name))
    with ours(bench.root, f"{bench.upstream_url}/json/") as server:
        before = server.memory_mb()
        for name in names:
            fetch(f"{server.url}/simple/{name}/", {"Accept": JSON_TYPE, "Accept-Encoding": "gzip"})
        yield Row(f"memory after {_MANY_PAGES} pages", "MB", server.memory_mb(),
                  more_is_better=False, note=f"{before:.0f} MB before")  # fmt: skip


def whole_list(bench: Bench) -> Iterator[Row]:
    """The list of 800,000 names: fetched from a JSON and an HTML upstream, and from the disk."""
    place = bench.root / "list"
    upstream = place / "upstream"
    place.mkdir()
    place.chmod(0o755)
    write_lists(upstream)
    with nginx(place, upstream, upstream) as (coded, _, _):
        for form in ("json", "html"):
            arguments = ("--cache-dir", str(place / f"kept-{form}"), f"{coded}/{form}/")
            for way in ("fetched", "from the disk"):
                found = measure(place, way, *arguments)
                name = f"list of {NAMES:,} names, {form} upstream, {way}"
                first = found.answers[0]
                yield Row(f"{name}: first answer", "ms", first.ms, more_is_better=False)
                yield Row(f"{name}: highest memory", "MB", found.watched.peak_mb,
                          more_is_better=False)  # fmt: skip
                yield Row(f"{name}: longest wait of others", "ms", found.watched.longest_wait_ms,
                          more_is_better=False)  # fmt: skip


class _Mixed(msgspec.Struct):
    """What a mixed load came to."""

    requests: int = 0
    errors: int = 0
    bytes: int = 0
    took_ms: list[float] = []


def mixed(bench: Bench) -> Iterator[Row]:
    """Pages, metadata and files of 500 projects, as often as Zipf has it."""
    dice = random.Random(1)
    published = [
        publish(bench.fixtures.upstream, f"zipf-{number}", int(dice.lognormvariate(11, 1.5)))
        for number in range(_ZIPF_PROJECTS)
    ]
    index = f"{bench.upstream_url}/json/"
    with (
        ours(bench.root, "--files", "cache", index) as server,
        nginx_proxy(bench.root, bench.upstream_url) as proxy,
    ):

        def by_us(one: Published) -> list[str]:
            file = _resource(server, one)
            return [f"{server.url}/simple/{one.project}/", f"{file}.metadata", file]

        def by_nginx(one: Published) -> list[str]:
            file = f"{proxy}/cache{one.path}"
            return [f"{proxy}/cache/json/{one.project}/", f"{file}.metadata", file]

        own, other = _Mixed(), _Mixed()
        for turn in range(2 * bench.rounds):
            seconds = bench.seconds / 2
            for load, urls in ((own, by_us), (other, by_nginx)):
                requests = [urls(one) for one in published]
                asyncio.run(_clients(load, requests, seconds, seed=turn))
        seconds = bench.rounds * bench.seconds
        memory = server.memory_mb()
    name = f"mixed load, Zipf over {_ZIPF_PROJECTS} projects"
    note = f"p50 {_percentile(own, 50):.1f} ms, p99 {_percentile(own, 99):.1f} ms"
    note += f" (nginx {_percentile(other, 50):.1f}, {_percentile(other, 99):.1f})"
    yield Row(name, "req/s", own.requests / seconds, other.requests / seconds, note=note)
    yield Row(f"{name}: errors", "", own.errors, other.errors, more_is_better=False,
              note=f"of {own.requests} requests")  # fmt: skip
    yield Row(f"{name}: memory after it", "MB", memory, more_is_better=False)


def _percentile(load: _Mixed, percent: int) -> float:
    ordered = sorted(load.took_ms)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


async def _clients(load: _Mixed, projects: list[list[str]], seconds: float, *, seed: int) -> None:
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(projects))))
    dice = random.Random(seed)
    deadline = time.perf_counter() + seconds
    connector = aiohttp.TCPConnector(limit=_MIXED_CLIENTS)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def client() -> None:
            while time.perf_counter() < deadline:
                place = bisect.bisect(weights, dice.random() * weights[-1])
                for url in projects[min(place, len(projects) - 1)]:
                    begun = time.perf_counter()
                    load.requests += 1
                    try:
                        async with session.get(url, headers={"Accept": "*/*"}) as response:
                            load.bytes += len(await response.read())
                            load.errors += response.status != 200
                    except (aiohttp.ClientError, TimeoutError):
                        load.errors += 1
                    load.took_ms.append((time.perf_counter() - begun) * 1000)

        await asyncio.gather(*(client() for _ in range(_MIXED_CLIENTS)))


def install(bench: Bench) -> Iterator[Row]:
    """`uv pip install` of 45 wheels with an empty client cache: straight, through us cold, warm."""
    dice = random.Random(2)
    names = [f"wheel-{number}" for number in range(_INSTALLED)]
    for name in names:
        publish(bench.fixtures.upstream, name, int(dice.lognormvariate(12, 1.2)))
    index = f"{bench.upstream_url}/json/"
    took: dict[str, list[float]] = {"straight": [], "cold": [], "warm": []}
    _uv(bench, index, names)
    for _ in range(max(3, bench.rounds)):
        with ours(bench.root, "--files", "cache", index) as server:
            own = f"{server.url}/simple/"
            took["cold"].append(_uv(bench, own, names))
            time.sleep(0.5)
            took["straight"].append(_uv(bench, index, names))
            took["warm"].append(_uv(bench, own, names))
    straight, cold, warm = (statistics.median(took[way]) for way in ("straight", "cold", "warm"))
    name = f"uv pip install of {_INSTALLED} wheels through us"
    for way, value in (("cold", cold), ("warm", warm)):
        yield Row(f"{name}, {way}", "ms", value, more_is_better=False,
                  note=f"{value / straight:.2f} times straight from upstream: {straight:.0f} ms",
                  )  # fmt: skip


def _uv(bench: Bench, index: str, names: list[str]) -> float:
    with tempfile.TemporaryDirectory(dir=bench.root) as place:
        environment = {**os.environ, "UV_NO_CONFIG": "1", "UV_CACHE_DIR": f"{place}/cache"}
        command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--no-build", "--target",
                   f"{place}/target", "--default-index", index, *names]  # fmt: skip
        begun = time.perf_counter()
        subprocess.run(command, check=True, env=environment)
        took = (time.perf_counter() - begun) * 1000
        found = len(list(Path(place, "target").glob("*.dist-info")))
        if found != len(names):
            raise RuntimeError(f"{found} of {len(names)} were installed")
        return took
