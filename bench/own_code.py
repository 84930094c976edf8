"""What an answer costs in our own code: the protocol driven in process, without a socket.

    python -m bench.own_code [--json bench/results.json] [--batches 15] [--requests 4000]

The bytes of a pip request are given to the connection of the command, again and again; a transport
without a socket takes what it writes. So neither the kernel nor uvloop is in the figures.
For each kind of answer: the median over batches, in µs an answer, of wall time, of the CPU time of
the thread that answers, and of the CPU time of the process, including the thread of the log.
Batches with the log and without take turns. Then the stages one by one.
"""

import argparse
import asyncio
import functools
import gc
import logging
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from typing_extensions import override
from uvicorn.server import ServerState

from bench import results
from bench.results import Row, Run, single
from simple_repository_server.cli.uvicorn_server import server_config
from simple_repository_server.config.settings import DirectorySource, IndexSource, Settings
from simple_repository_server.model import FilesMode, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Event
from simple_repository_server.observe.logs import LogWriter
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from simple_repository_server.web.exchange import Request
from simple_repository_server.web.index import IndexApp
from simple_repository_server.web.server.connections import Limits
from simple_repository_server.wiring import build_app

PIP = (
    'pip/26.3 {"ci":null,"cpu":"x86_64","distro":{"name":"Debian GNU/Linux","version":"13"},'
    '"implementation":{"name":"CPython","version":"3.13.1"},"installer":{"name":"pip","version":'
    '"26.3"},"openssl_version":"OpenSSL 3.5.1","python":"3.13.1","system":{"name":"Linux"}}'
)
JSON_FIRST = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, "
    "text/html; q=0.01"
)
REMOTE = build_wheel("remote", "1.0")
LOCAL = build_wheel("local", "1.0")
_WARM_UP_TRIES = 50


class Sink(asyncio.Transport):
    """A transport whose other side takes everything at once; it has what was written last."""

    def __init__(self) -> None:
        super().__init__()
        self.last = b""

    @override
    def write(self, data: Any) -> None:
        self.last = data

    @override
    def writelines(self, list_of_data: Any) -> None:
        self.last = b"".join(list_of_data)

    @override
    def get_write_buffer_size(self) -> int:
        return 0

    @override
    def is_closing(self) -> bool:
        return False

    @override
    def get_extra_info(self, name: Any, default: Any = None) -> Any:
        return ("127.0.0.1", 40_000) if name in {"peername", "sockname"} else default

    @override
    def close(self) -> None:
        return

    @override
    def pause_reading(self) -> None:
        return

    @override
    def resume_reading(self) -> None:
        return

    @override
    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None:
        return


class Lane(msgspec.Struct):
    """One connection of an application, and the transport it writes to."""

    app: IndexApp
    protocol: Any
    sink: Sink


class Kind(msgspec.Struct, frozen=True):
    """A kind of answer: how it begins, and the request for it."""

    name: str
    begins: bytes
    request: bytes
    #: What the repositories are asked for.
    project: str
    file: str = ""


class Cost(msgspec.Struct, frozen=True):
    """µs for one answer."""

    wall: float
    thread: float
    process: float


@contextmanager
def _upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        publish_json(upstream, [REMOTE], max_age=3600)
        yield upstream


@asynccontextmanager
async def _lane(settings: Settings, emit: Callable[[Event], None]) -> AsyncIterator[Lane]:
    app = build_app(settings, emit)
    config = server_config(app, limits=Limits(), on_exhausted=lambda: None)
    config.load()
    state = ServerState()
    state.default_headers = [
        (b"date", b"Wed, 25 Nov 2026 10:00:00 GMT"),
        (b"server", b"simple-repository-server"),
    ]
    make: Callable[..., Any] = config.http_protocol_class
    protocol = make(config=config, server_state=state, app_state={})
    sink = Sink()
    async with app.repository:
        protocol.connection_made(sink)
        yield Lane(app, protocol, sink)
        protocol.connection_lost(None)


def _get(target: str, *lines: str) -> bytes:
    head = [f"GET {target} HTTP/1.1", "Host: 127.0.0.1:8000", f"User-Agent: {PIP}", *lines]
    return "".join(f"{line}\r\n" for line in [*head, "Connection: keep-alive"]).encode() + b"\r\n"


async def _warm(lane: Lane, request: bytes) -> bytes:
    """The answer to the request, once it is written at once."""
    for _ in range(_WARM_UP_TRIES):
        lane.sink.last = b""
        lane.protocol.data_received(request)
        if lane.sink.last and lane.protocol.cycle is None:
            return lane.sink.last
        await asyncio.sleep(0.05)
    raise RuntimeError(f"{request.splitlines()[0]!r} is never answered at once")


async def _kinds(lane: Lane) -> list[Kind]:
    pages = ("Accept-Encoding: gzip, deflate", f"Accept: {JSON_FIRST}")
    files = ("Accept-Encoding: identity", "Accept: */*")
    page = _get("/simple/remote/", *pages)
    answer = await _warm(lane, page)
    etag = answer.partition(b"\r\netag: ")[2].partition(b"\r\n")[0].decode()
    remote, local = REMOTE.filename, LOCAL.filename
    return [
        Kind("page", b"HTTP/1.1 200", page, "remote"),
        Kind("page of a directory", b"HTTP/1.1 200", _get("/simple/local/", *pages), "local"),
        Kind("304", b"HTTP/1.1 304",
             _get("/simple/remote/", *pages, f"If-None-Match: {etag}"), "remote"),
        Kind("redirect", b"HTTP/1.1 302",
             _get(f"/resources/remote/{remote}", *files), "remote", remote),
        Kind("local file of 1 kB", b"HTTP/1.1 200",
             _get(f"/resources/local/{local}", *files), "local", local),
    ]  # fmt: skip


async def _measure(lane: Lane, kind: Kind, count: int) -> Cost:
    answer = await _warm(lane, kind.request)
    if not answer.startswith(kind.begins):
        raise RuntimeError(f"{kind.name}: {answer[:200]!r}")
    receive = lane.protocol.data_received
    # As from a socket each is an object of its own, whose hash nobody knows.
    requests = [bytes(bytearray(kind.request)) for _ in range(count)]
    process, thread, wall = time.process_time(), time.thread_time(), time.perf_counter()
    for request in requests:
        receive(request)
    wall = time.perf_counter() - wall
    thread = time.thread_time() - thread
    await asyncio.sleep(0.05)  # the log is written by then
    process = time.process_time() - process
    if not lane.sink.last.startswith(kind.begins):
        raise RuntimeError(f"{kind.name}: {lane.sink.last[:200]!r}")
    return Cost(*(1e6 * seconds / count for seconds in (wall, thread, process)))


def _median(costs: list[Cost]) -> Cost:
    columns = zip(*((c.wall, c.thread, c.process) for c in costs), strict=True)
    return Cost(*(statistics.median(column) for column in columns))


async def _each(action: Callable[[], object], lane: Lane, kind: Kind, count: int) -> float:
    """µs of this thread for one call, less what the loop takes; the median of several rounds."""

    def once(what: Callable[[], object]) -> float:
        turns, began = range(count), time.thread_time()
        for _ in turns:
            what()
        return time.thread_time() - began

    rounds = []
    for _ in range(9):
        await _warm(lane, kind.request)
        rounds.append(once(action) - once(int))
    return 1e6 * statistics.median(rounds) / count


async def _stages(lane: Lane, kind: Kind, log: LogWriter, event: Event, count: int) -> list[Row]:
    """What the parts of an answer cost, one inside the other where they are."""
    repository, context = lane.app.repository, RequestContext()
    project = ProjectName(kind.project)
    look: Callable[[], object]
    if kind.file:
        file = FileName(kind.file)
        look = functools.partial(repository.peek_resource, project, file, context=context)
    else:
        look = functools.partial(repository.peek_project_page, project, context=context)
    head, *lines = kind.request.decode().split("\r\n")[:-2]
    pairs = (line.encode().split(b": ", 1) for line in lines)
    fields = {name.lower(): value for name, value in pairs}
    request = Request("GET", head.split()[1], b"", fields)
    answer = functools.partial(lane.app.peek, request)
    stages: dict[str, Callable[[], object]] = {
        "asking the repositories": look,
        "the application's answer, with that": answer,
        "the log line": functools.partial(log, event),
    }
    return [
        single(f"{kind.name}: {name}", "µs", await _each(action, lane, kind, count))
        for name, action in stages.items()
    ]


async def _run(options: argparse.Namespace, upstream: Upstream, place: Path) -> list[Row]:
    packages = place / "packages"
    packages.mkdir()
    (packages / LOCAL.filename).write_bytes(LOCAL.content)
    sources = (DirectorySource(path=packages), IndexSource(url=upstream.simple))
    settings = Settings(sources=sources, files=options.files, cache=place / "cache")
    rows = []
    last: deque[Event] = deque(maxlen=1)
    with Path("/dev/null").open("w") as stream:  # noqa: ASYNC230 - it does not wait
        log = LogWriter(stream, form=options.log_format)
        async with _lane(settings, log) as logged, _lane(settings, last.append) as silent:
            kinds = await _kinds(silent)
            for kind in kinds:
                await _warm(logged, kind.request)
                await _warm(silent, kind.request)
            gc.collect()
            gc.freeze()  # as the command does once it has started
            for kind in kinds:
                with_log, without = [], []
                for _ in range(options.batches):
                    with_log.append(await _measure(logged, kind, options.requests))
                    without.append(await _measure(silent, kind, options.requests))
                rows += _rows(kind, _median(with_log), _median(without))
                if options.stages:
                    rows += await _stages(silent, kind, log, last[0], options.requests // 4)
        log.close()
    return rows


def _rows(kind: Kind, logged: Cost, silent: Cost) -> list[Row]:
    return [
        single(f"{kind.name}, with its log line", "µs", logged.thread,
               note=f"wall {logged.wall:.2f}; with the log's thread {logged.process:.2f}"),
        single(f"{kind.name}, without", "µs", silent.thread, note=f"wall {silent.wall:.2f}"),
    ]  # fmt: skip


def main() -> None:
    """Measure, print, and keep the rows if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batches", type=int, default=15, help="of each kind; medians count")
    parser.add_argument("--requests", type=int, default=4000, help="in one batch")
    parser.add_argument(
        "--files", type=FilesMode, default=FilesMode.REDIRECT, help="as the command's option"
    )
    parser.add_argument("--log-format", default="text", help="as the command's option")
    parser.add_argument("--no-stages", dest="stages", action="store_false")
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the rows into this file")
    options = parser.parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="bench-") as place, _upstream() as upstream:
        rows = uvloop.run(_run(options, upstream, Path(place)))
    for row in rows:
        print(f"{row.name:70} {row.ours.value:8.2f} µs  {row.note}")
    if options.json:
        conditions = results.conditions(sys.argv[1:], module="bench.own_code")
        rows = [msgspec.structs.replace(row, scenario="own-code") for row in rows]
        results.write(options.json, Run(conditions, rows))


if __name__ == "__main__":
    main()
