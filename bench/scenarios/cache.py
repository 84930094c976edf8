"""The cache: files through each mode, joining, restarts, many pages, the list of all projects."""

import shutil
import statistics
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from bench.big_list import NAMES, measure, write_lists
from bench.load import Download, download, fetch_ok, took_ms
from bench.nginx import nginx, nginx_proxy
from bench.published import Published, fill_cache, publish
from bench.results import Figure, Row, single
from bench.scenario import Bench, Target, compared
from bench.servers import JSON_TYPE, Running, ours

_FILE_BYTES, _JOINERS = 17_000_000, 25
_MANY_PAGES = 2_000


def resource_url(server: Running, published: Published) -> str:
    """The address of a published file at our server."""
    return f"{server.url}/resources/{published.project}/{published.filename}"


def _page(server: Running, published: Published) -> None:
    fetch_ok(f"{server.url}/simple/{published.project}/", {"Accept": JSON_TYPE})


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
            for name, server, url in (
                ("upstream", bench.nginx.server, f"{bench.upstream_url}{published.path}"),
                ("pass", proxy, f"{proxy.url}/pass{published.path}"),
                ("stream", stream, resource_url(stream, published)),
                ("proxy_cache", proxy, f"{proxy.url}/cache{published.path}"),
                ("cache", cache, resource_url(cache, published)),
            ):
                got.setdefault(name, []).append(_downloaded(server, url, published.size))
        yield from _cold_rows(got)
        targets = {
            "nginx": Target(proxy, f"{proxy.url}/cache{cold[0].path}"),
            "ours": Target(cache, resource_url(cache, cold[0])),
        }
        name = "17 MB file, warm cache (nginx: proxy_cache), 8 clients"
        yield compared(bench, name, targets, 8, figure="mb_per_s")
        yield single("memory after that", "MB", cache.memory_mb())


def _downloaded(server: Running, url: str, size: int) -> Download:
    with server.cpu() as cpu:
        found = download(url)
    if (found.status, found.bytes) != (200, size):
        raise RuntimeError(f"{url}: {found}")
    return msgspec.structs.replace(found, cpu_us=cpu.seconds * 1e6)


def _cold_rows(got: Mapping[str, list[Download]]) -> Iterator[Row]:
    def middle(name: str, figure: str) -> float:
        return float(statistics.median(getattr(found, figure) for found in got[name]))

    for own, other in (("stream", "pass"), ("cache", "proxy_cache"), ("cache", "pass")):
        name = f"17 MB file, cold, --files {own} (nginx: {other})"
        figures = {
            server: Figure(
                middle(which, "mb_per_s"), statistics.fmean(found.cpu_us for found in got[which])
            )
            for server, which in (("ours", own), ("nginx", other))
        }
        yield Row(name=name, unit="MB/s", figures=figures)
    alone = middle("upstream", "first_byte_ms")
    for own, other in (("stream", "pass"), ("cache", "proxy_cache")):
        yield single(
            f"first byte of a cold file, --files {own}", "ms", middle(own, "first_byte_ms"),
            nginx=middle(other, "first_byte_ms"),
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
            alone = download(resource_url(server, one)).total_ms
            with ThreadPoolExecutor(_JOINERS) as pool:
                url = resource_url(server, many)
                found = list(pool.map(download, [url] * _JOINERS))
            if any((one.status, one.bytes) != (200, many.size) for one in found):
                raise RuntimeError("not every client got the file")
            last.append(max(one.total_ms for one in found))
            ratios.append(last[-1] / alone)
            time.sleep(0.1)
            log = bench.nginx.upstream_log.read_text().splitlines()
            transfers.append(sum(1 for line in log if line.startswith(f"{many.path} ")))
    name = f"{_JOINERS} clients, one cold file"
    note = f"{statistics.median(ratios):.2f} times that of one alone"
    yield single(f"{name}: the last one done", "ms", statistics.median(last),
              note=note)  # fmt: skip
    yield single(f"{name}: upstream transfers", "", max(transfers))


def restart(bench: Bench) -> Iterator[Row]:
    """From the start to the first page, with 10 GB of cache."""
    cache = bench.root / "large-cache"
    index = f"{bench.upstream_url}/json/"
    page = "/simple/large/"
    with ours(bench.root, index, cache=cache) as server:
        fetch_ok(f"{server.url}{page}", {"Accept": JSON_TYPE})
        time.sleep(0.5)
    folder = cache / "simple-repository-server" / "index"
    count = fill_cache(folder, 10_000_000_000, 1_000_000)
    took: list[float] = []
    for _ in range(max(3, bench.rounds)):
        with ours(bench.root, index, cache=cache) as server:
            begun = time.perf_counter()
            fetch_ok(f"{server.url}{page}", {"Accept": JSON_TYPE})
            took.append((server.started_s + time.perf_counter() - begun) * 1000)
    yield single("restart with 10 GB of cache to the first large page", "ms",
                 statistics.median(took), note=f"{count} files")  # fmt: skip
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
            took_ms(
                f"{server.url}/simple/{name}/", {"Accept": JSON_TYPE, "Accept-Encoding": "gzip"}
            )
        yield single(f"memory after {_MANY_PAGES} pages", "MB", server.memory_mb(),
                  note=f"{before:.0f} MB before")  # fmt: skip


def whole_list(bench: Bench) -> Iterator[Row]:
    """The list of 800,000 names: fetched from a JSON and an HTML upstream, and from the disk."""
    place = bench.root / "list"
    upstream = place / "upstream"
    place.mkdir()
    place.chmod(0o755)
    write_lists(upstream)
    with nginx(place, upstream, upstream) as static:
        for form in ("json", "html"):
            arguments = ("--cache-dir", str(place / f"kept-{form}"), f"{static.static_url}/{form}/")
            for way in ("fetched", "from the disk"):
                found = measure(place, way, *arguments)
                name = f"list of {NAMES:,} names, {form} upstream, {way}"
                first = found.answers[0]
                yield single(f"{name}: first answer", "ms", first.ms)
                yield single(f"{name}: highest memory", "MB", found.watched.peak_mb)
                yield single(f"{name}: longest wait of others", "ms", found.watched.longest_wait_ms)
