"""A build farm's minute: fifty clients lock and install at once, as uv and pip were seen to do."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from html import unescape
from urllib.parse import urldefrag, urljoin, urlsplit

import msgspec

from bench.farm import publish_farm
from bench.load import fetch
from bench.nginx import nginx, nginx_proxy
from bench.peers import PEERS
from bench.published import Published
from bench.replay import Plan, Replayed, Step
from bench.results import Figure, Row, single
from bench.scenario import Bench
from bench.servers import JSON_TYPE, Running, ours
from bench.traced import Request, read_traces

_CLIENTS = 50
#: A load takes so many times what one of others does: half a minute for each server by default.
_TIMES = 5
_REHEARSALS = 5
_NAME = f"build farm, {_CLIENTS} clients"
_KINDS = {
    "all requests": ("page", "metadata", "file"),
    "pages": ("page",),
    "metadata": ("metadata",),
    "files": ("file",),
}


def farm(bench: Bench) -> Iterator[Row]:
    """Latencies, errors and rates of ours, nginx's `proxy_cache`, proxpi and devpi, in turns."""
    place = bench.root / "farm"
    place.mkdir()
    place.chmod(0o755)
    published = publish_farm(place / "upstream")
    with ExitStack() as stack:
        upstream = stack.enter_context(nginx(place, place / "upstream", place / "upstream"))
        index = f"{upstream.upstream_url}/json/"
        server = stack.enter_context(ours(place, "--files", "cache", index))
        proxy = stack.enter_context(nginx_proxy(place, upstream.upstream_url))
        loads = {
            "ours": _Load(server, f"{server.url}/simple/", published),
            "nginx": _Load(proxy, f"{proxy.url}/cache/json/", published),
        }
        for name, peer in PEERS.items():
            found = stack.enter_context(peer(place, index))
            if found is not None:
                loads[name] = _Load(*found, published)
        static = _Load(upstream.server, f"{upstream.static_url}/json/", published)
        for _ in range(bench.rounds):
            for load in loads.values():
                load.run(bench.seconds * _TIMES)
        static.run(bench.seconds)
    yield from _rows(loads, static)


def _rows(loads: Mapping[str, "_Load"], static: "_Load") -> Iterator[Row]:
    for called, kinds in _KINDS.items():
        took = {name: load.took_ms(kinds) for name, load in loads.items()}
        took = {name: ordered for name, ordered in took.items() if ordered}
        for what, share in (("p50", 0.5), ("p99", 0.99), ("worst", 1.0)):
            figures = {name: Figure(_quantile(all_of, share)) for name, all_of in took.items()}
            yield _row(f"{called}, {what}", "ms", figures)
    yield _row("answers", "req/s", {name: load.rate() for name, load in loads.items()},
               more_is_better=True)  # fmt: skip
    for name, load in loads.items():
        if load.errors:
            print(f"{name}: {load.errors} errors: {load.examples()}", file=sys.stderr)
    lacking = [name for name, load in loads.items() if load.without_metadata]
    errors = {name: Figure(load.errors) for name, load in loads.items()}
    note = f"sent no requests for metadata, which it lacks: {', '.join(lacking)}" if lacking else ""
    yield _row("errors", "", errors, note=note)
    cpu_us, busy = static.generator()
    yield single(
        f"{_NAME}: what the load generator itself costs for an answer", "µs CPU", cpu_us,
        note=f"against nginx's static files, {static.rate().value:,.0f} answers/s; it is busy "
        f"{busy:.0%} of that time, against ours {loads['ours'].generator()[1]:.0%}",
    )  # fmt: skip


def _row(
    name: str, unit: str, figures: dict[str, Figure], *, more_is_better: bool = False,
    note: str = "",
) -> Row:  # fmt: skip
    return Row(name=f"{_NAME}: {name}", unit=unit, figures=figures, note=note,
               more_is_better=more_is_better)  # fmt: skip


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class _Load:
    """The traces as they are sent to one index, and what came of replaying them.

    Making one warms the index: each request is sent twice.
    """

    def __init__(self, server: Running, pages: str, published: list[Published]) -> None:
        self._server = server
        self._netloc = urlsplit(pages).netloc
        self._urls = {one.project: _urls(pages, one) for one in published}
        self._steps: dict[str, Step | None] = {}
        self._traces = [self._trace(trace.requests) for trace in read_traces()]
        self._replayed: list[Replayed] = []
        self._cpu_s = 0.0

    @property
    def without_metadata(self) -> bool:
        """Whether it serves none, so that no such requests are sent."""
        return None in self._steps.values()

    @property
    def errors(self) -> int:
        """How many answers were not as in the rehearsal, or did not come."""
        return sum(one.errors for one in self._replayed)

    def examples(self) -> list[str]:
        """What some of the errors were."""
        return [text for one in self._replayed for text in one.examples][:5]

    def run(self, seconds: float) -> None:
        """Replay the traces for so long."""
        port = int(self._netloc.partition(":")[2])
        plan = Plan(port, _CLIENTS, seconds, self._traces)
        with self._server.cpu() as cpu:
            done = subprocess.run(
                [sys.executable, "-m", "bench.replay"], input=msgspec.json.encode(plan),
                stdout=subprocess.PIPE, check=True,
            )  # fmt: skip
        self._cpu_s += cpu.seconds
        self._replayed.append(msgspec.json.decode(done.stdout, type=Replayed))

    def took_ms(self, kinds: tuple[str, ...]) -> list[float]:
        """How long the answers of these kinds took, the fastest first."""
        return sorted(
            took for one in self._replayed for kind in kinds for took in one.took_ms.get(kind, ())
        )

    def rate(self) -> Figure:
        """Answers in a second, and their CPU time."""
        took = self.took_ms(_KINDS["all requests"])
        seconds = sum(one.seconds for one in self._replayed)
        return Figure(
            len(took) / seconds, self._cpu_s / len(took) * 1e6, _quantile(took, 0.5),
            _quantile(took, 0.99),
        )  # fmt: skip

    def generator(self) -> tuple[float, float]:
        """CPU time of the load generator: µs for an answer, and the share of the time."""
        cpu_s = sum(one.cpu_s for one in self._replayed)
        count = len(self.took_ms(_KINDS["all requests"]))
        return cpu_s / count * 1e6, cpu_s / sum(one.seconds for one in self._replayed)

    def _trace(self, requests: list[Request]) -> list[Step]:
        """The steps for the requests; `after` counts only those that are sent."""
        steps: list[Step] = []
        for request in requests:
            key = f"{request.kind} {request.project} {request.conditional} {request.headers}"
            if key not in self._steps:
                self._steps[key] = self._rehearsed(request)
            if (step := self._steps[key]) is not None:
                after = min(request.after, len(steps))
                steps.append(msgspec.structs.replace(step, after=after, pause_ms=request.pause_ms))
        return steps

    def _rehearsed(self, request: Request) -> Step | None:
        """The step, with the status it has now; None for metadata that is not served."""
        url = self._urls[request.project][request.kind]
        headers = dict(request.headers)
        for _ in range(_REHEARSALS):  # devpi fails at times right after it has stored a file
            fetch(url, headers)
            status, given, body, _ = fetch(url, headers)
            if status < 500:
                break
            time.sleep(0.1)
        if request.kind == "metadata" and status == 404:
            return None
        if status != 200:
            raise RuntimeError(f"{url}: status {status}, {body[:200]!r}")
        if request.conditional and "etag" in given:
            headers["if-none-match"] = given["etag"]
            status, *_ = fetch(url, headers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        target = urlsplit(url).path
        head = f"GET {target} HTTP/1.1\r\nhost: {self._netloc}\r\n{lines}\r\n"
        return Step(request.kind, head, status, 0, 0)


def _urls(pages: str, published: Published) -> dict[str, str]:
    """Where the index has the page, the file and its metadata."""
    page = f"{pages}{published.project}/"
    _, given, body, _ = fetch(page, {"Accept": f"{JSON_TYPE}, text/html;q=0.1"})
    if given["content-type"].startswith(JSON_TYPE):
        urls = [entry["url"] for entry in json.loads(body)["files"]]
    else:
        urls = [unescape(url) for url in re.findall(r'href="([^"]+)"', body.decode())]
    wanted = (urldefrag(urljoin(page, url))[0] for url in urls)
    file = next(url for url in wanted if url.endswith(f"/{published.filename}"))
    return {"page": page, "file": file, "metadata": f"{file}.metadata"}
