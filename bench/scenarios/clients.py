"""Clients as they are: a mixed load, as often as Zipf has it, and installs by uv."""

import asyncio
import bisect
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import msgspec

from bench.nginx import nginx_proxy
from bench.published import Published, publish
from bench.results import Figure, Row, single
from bench.scenario import Bench
from bench.scenarios.cache import resource_url
from bench.servers import ours

_ZIPF_PROJECTS, _MIXED_CLIENTS = 500, 16
_INSTALLED = 45


class _Mixed(msgspec.Struct):
    """What a mixed load came to."""

    requests: int = 0
    errors: int = 0
    bytes: int = 0
    took_ms: list[float] = []
    seconds: float = 0.0
    cpu_s: float = 0.0

    def figure(self) -> Figure:
        """Requests in a second."""
        ordered = sorted(self.took_ms)
        p50, p99 = (ordered[len(ordered) * percent // 100] for percent in (50, 99))
        cpu_us = self.cpu_s / self.requests * 1e6
        return Figure(self.requests / self.seconds, cpu_us, p50, p99)


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
            file = resource_url(server, one)
            return [f"{server.url}/simple/{one.project}/", f"{file}.metadata", file]

        def by_nginx(one: Published) -> list[str]:
            file = f"{proxy.url}/cache{one.path}"
            return [f"{proxy.url}/cache/json/{one.project}/", f"{file}.metadata", file]

        own, other = _Mixed(), _Mixed()
        for turn in range(2 * bench.rounds):
            for load, running, urls in ((own, server, by_us), (other, proxy, by_nginx)):
                requests = [urls(one) for one in published]
                with running.cpu() as cpu:
                    asyncio.run(_clients(load, requests, bench.seconds / 2, seed=turn))
                load.cpu_s += cpu.seconds
                load.seconds += bench.seconds / 2
        memory = server.memory_mb()
    name = f"mixed load, Zipf over {_ZIPF_PROJECTS} projects"
    yield Row(name=name, unit="req/s", figures={"ours": own.figure(), "nginx": other.figure()})
    yield single(f"{name}: errors", "", own.errors, nginx=other.errors,
                 note=f"of {own.requests} requests")  # fmt: skip
    yield single(f"{name}: memory after it", "MB", memory)


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
    medians = {way: statistics.median(found) for way, found in took.items()}
    for way in ("cold", "warm"):
        yield Row(
            name=f"uv pip install of {_INSTALLED} wheels through us, {way}", unit="ms",
            figures={"ours": Figure(medians[way]), "straight": Figure(medians["straight"])},
            more_is_better=False, note="straight: from the upstream, without us",
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
