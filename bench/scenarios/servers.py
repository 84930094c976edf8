"""Other servers: bare ones, which are the ceiling, and our application under Granian."""

import socket
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from bench.fixtures import COLD_COPIES
from bench.load import download, fetch_ok, took_ms
from bench.published import publish
from bench.raw import post
from bench.results import Figure, Row
from bench.scenario import Bench, Target, alternating, compared, row_of
from bench.scenarios.files import RANGE
from bench.scenarios.pages import page_targets
from bench.servers import JSON_TYPE, Running, bare, ours, ours_under

_BARE = ("httptools", "uvicorn", "granian")
_GRANIAN = "under Granian"
_STREAMED, _POSTS = 8, 100
_BODY = bytes(1_000_000)


def ceiling(bench: Bench) -> Iterator[Row]:
    """Our small page beside bare servers that answer its very bytes whatever they are asked."""
    with ExitStack() as stack:
        server = stack.enter_context(ours(bench.root, f"{bench.upstream_url}/json/"))
        targets = page_targets(bench, server, "small")
        own = targets["ours"]
        answer = _raw_answer(own)
        for name in _BARE:
            running = stack.enter_context(bare(name, bench.root, answer))
            targets[name] = Target(running, running.url, own.headers)
            if fetch_ok(running.url, own.headers)[1] != answer.partition(b"\r\n\r\n")[2]:
                raise RuntimeError(f"bare {name} does not send our bytes")
        loads = alternating(bench, targets)
        for name in _BARE:
            row = {"ours": loads["ours"], "nginx": loads["nginx"], f"bare {name}": loads[name]}
            yield row_of(f"small page beside bare {name}", row)


def _raw_answer(target: Target) -> bytes:
    """The answer as it comes: status line, headers, body."""
    parts = urlsplit(target.url)
    host, _, port = parts.netloc.partition(":")
    lines = "".join(f"{name}: {value}\r\n" for name, value in target.headers.items())
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{lines}\r\n"
    length = len(fetch_ok(target.url, target.headers)[1])
    answer = b""
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request.encode())
        while len(answer.partition(b"\r\n\r\n")[2]) < length:
            if not (received := connection.recv(65536)):
                raise RuntimeError(f"{target.url}: cut off")
            answer += received
    return answer


def granian(bench: Bench) -> Iterator[Row]:
    """Our command beside our application under Granian: nothing may be slower."""
    index, packages = f"{bench.upstream_url}/json/", str(bench.fixtures.packages)
    with ExitStack() as stack:
        enter = stack.enter_context
        pages = {
            "ours": enter(ours(bench.root, "--files", "stream", index)),
            _GRANIAN: enter(ours_under("granian", bench.root, "--files", "stream", index)),
        }
        files = {
            "ours": enter(ours(bench.root, packages)),
            _GRANIAN: enter(ours_under("granian", bench.root, packages)),
        }
        headers = {"Accept": JSON_TYPE, "Accept-Encoding": "identity"}
        small = {n: Target(one, f"{one.url}/simple/small/", headers) for n, one in pages.items()}
        yield compared(bench, "small page", small)
        yield _cold(bench, pages)
        yield _streamed(bench, pages)
        path = bench.fixtures.sized["17 MB"].target
        whole = {name: Target(one, one.url + path) for name, one in files.items()}
        yield compared(bench, "17 MB local file, 8 clients", whole, 8, figure="mb_per_s")
        part = {name: Target(one, one.url + path, RANGE) for name, one in files.items()}
        yield compared(bench, "16 MB range of it, 8 clients", part, 8, figure="mb_per_s")
        yield _uploads(pages)


def _cold(bench: Bench, servers: dict[str, Running]) -> Row:
    """Each page is asked for once of each, in turns; what the upstream takes is not counted."""
    headers = {"Accept": JSON_TYPE, "Accept-Encoding": "gzip"}
    names = [f"cold-{number}" for number in range(COLD_COPIES)]
    upstream = statistics.median(took_ms(f"{bench.upstream_url}/json/{n}/") for n in names)

    def ask(server: Running, turn: int) -> float:
        return took_ms(f"{server.url}/simple/{names[turn]}/", headers) - upstream

    return _in_turns("cold page of 4,400 files, own time", "ms", servers, len(names), ask)


def _streamed(bench: Bench, servers: dict[str, Running]) -> Row:
    """Each file is streamed through each, in turns."""
    upstream: Path = bench.fixtures.upstream
    cold = [publish(upstream, f"streamed-{n}", 17_000_000) for n in range(_STREAMED)]

    def ask(server: Running, turn: int) -> float:
        published = cold[turn]
        fetch_ok(f"{server.url}/simple/{published.project}/", {"Accept": JSON_TYPE})
        found = download(f"{server.url}/resources/{published.project}/{published.filename}")
        if (found.status, found.bytes) != (200, published.size):
            raise RuntimeError(f"{server.url}: {found}")
        return found.mb_per_s

    name = "cold 17 MB file streamed through"
    return _in_turns(name, "MB/s", servers, len(cold), ask, more_is_better=True)


def _uploads(servers: dict[str, Running]) -> Row:
    """Bodies nobody wants: both refuse them with 405."""

    def ask(server: Running, _: int) -> float:
        return post(f"{server.url}/simple/small/", _BODY, status=405)

    return _in_turns("POST with a body of 1 MB, refused", "ms", servers, _POSTS, ask)


def _in_turns(
    name: str,
    unit: str,
    servers: dict[str, Running],
    turns: int,
    ask: Callable[[Running, int], float],
    *,
    more_is_better: bool = False,
) -> Row:
    """The medians of single requests to each server in turn, and the CPU time of one."""
    values: dict[str, list[float]] = {server: [] for server in servers}
    seconds = dict.fromkeys(servers, 0.0)
    for turn in range(turns):
        for called, server in servers.items():
            with server.cpu() as cpu:
                values[called].append(ask(server, turn))
            seconds[called] += cpu.seconds
    figures = {
        server: Figure(statistics.median(found), seconds[server] / turns * 1e6)
        for server, found in values.items()
    }
    return Row(name=name, unit=unit, figures=figures, more_is_better=more_is_better)
