"""The fast lane: what needs no waiting is answered without a task, and just as it would be."""

import asyncio
import gc
import hashlib
import os
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from simple_repository_server import (
    FilesMode,
    HttpRepository,
    LocalRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
)
from simple_repository_server.observe.events import Event, RequestFinished
from simple_repository_server.testing.distributions import build_sdist, build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from simple_repository_server.web.exchange import Request
from simple_repository_server.web.index import IndexApp
from tests.web.lane import Answer, ask, get, on_socket

pytestmark = pytest.mark.anyio

JSON = "application/vnd.pypi.simple.v1+json"
FORMS = (JSON, "application/vnd.pypi.simple.v1+html", "text/html", "*/*", "image/png", "")
CODINGS = ("", "gzip", "zstd", "gzip, deflate, zstd", "identity")
LOCAL = build_wheel("local", "1.0", files={"data": os.urandom(3_000)})
BIG = build_wheel("local", "2.0", files={"data": os.urandom(700_000)})
SDIST = build_sdist("local", "2.0")
REMOTE = build_wheel("remote", "1.0+cu1")


@asynccontextmanager
async def _app(
    tmp_path: Path, upstream: Upstream, emit: Any = lambda _: None, **options: Any
) -> AsyncIterator[IndexApp]:
    """A directory with two wheels and a sdist in front of an index with one wheel."""
    folder = tmp_path / "packages"
    folder.mkdir(exist_ok=True)
    for built in (LOCAL, BIG, SDIST):
        (folder / built.filename).write_bytes(built.content)
    publish_json(upstream, [REMOTE], max_age=600)
    sources = [LocalRepository(folder), HttpRepository(upstream.simple)]
    repository = MetadataInjectorRepository(PrioritySelectedProjectsRepository(sources))
    async with repository:
        yield IndexApp(repository, emit=emit, **options)


def _requests() -> list[bytes]:
    """All kinds of requests that the index answers, or refuses."""
    local, remote = f"/resources/local/{LOCAL.filename}", "/resources/remote/remote-1.0%2Bcu1-"
    wheel = f"{remote}py3-none-any.whl"
    targets = [
        "/", "/healthz", "/readyz", "/simple", "/simple/", "/simple/local", "/simple/local/",
        "/simple/remote/", "/simple/Local_", "/simple/LOCAL/", "/simple/LOCAL/?a=b&format=x",
        "/simple/nope/", "/simple/-bad-/", "/simple/%00/", "/nothing", "/simple/local/deeper/",
        f"/simple/local/?format={JSON.replace('+', '%2B')}", f"/simple/local/?format={JSON}",
        "/simple/local/?format=text/plain", local, f"{local}.metadata", local.replace("l/", "L/"),
        f"/resources/local/{BIG.filename}", f"/resources/local/{SDIST.filename}",
        f"/resources/local/{SDIST.filename}.metadata", "/resources/local/absent-1.0.tar.gz",
        wheel, f"{wheel}.metadata", wheel.replace("%2B", "+"), "/resources/nope/nope-1.0.tar.gz",
        "http://index.example/simple/local/",
    ]  # fmt: skip
    requests = [
        get(target, *lines, method=method)
        for target in targets
        for method in ("GET", "HEAD", "POST", "DELETE")
        for lines in ((), (f"Accept: {JSON}",))
    ]
    for target in ("/simple/", "/simple/local/", "/simple/remote/", "/nothing"):
        for form in FORMS:
            for coding in CODINGS:
                lines = [f"Accept: {form}"] * bool(form)
                lines += [f"Accept-Encoding: {coding}"] * bool(coding)
                requests.append(get(target, *lines))
    for target in (local, f"/resources/local/{BIG.filename}", f"{local}.metadata", wheel):
        for wanted in ("0-9", "5-", "-7", "0-99999999", "99999999-", "x", "0-1,4-5"):
            requests += [get(target, f"Range: bytes={wanted}", method=m) for m in ("GET", "HEAD")]
        requests.append(get(target, "Range: bytes=1-5", 'If-Range: "other"'))
        requests.append(get(target, 'If-None-Match: "other"'))
        requests.append(get(target, "If-None-Match: *"))
    requests += [
        get("/simple/local/", "Accept: text/html", f"Accept: {JSON}"),
        get("/simple/local/", "Cache-Control: no-cache"),
        get("/simple/local/", "Cache-Control: max-age=0", "User-Agent: pip/26.3 {}"),
        get("/simple/local/", "If-None-Match: *"),
        get("/simple/remote/", "If-None-Match: *"),
        get("/simple/local/", "Content-Length: 0"),
        get("/simple/local/", "Connection: keep-alive"),
        get("/simple/local/", "X-Forwarded-For: 203.0.113.9"),
    ]
    return requests


async def _settle(port: int) -> None:
    """Have what the home page says of the sources known, and the digests computed."""
    for target in ("/simple/", "/simple/local/", "/simple/remote/"):
        await ask(port, get(target))


def _comparable(answer: Answer) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """All of an answer but the second it was sent in."""
    passing = {b"date", b"age"}
    headers = [(n, b"" if n in passing else value) for n, value in answer.headers]
    return answer.status, headers, answer.body


async def test_both_ways_answer_alike(tmp_path: Path, upstream: Upstream) -> None:
    """Whatever is asked, the fast lane's answer is, byte for byte, that of the ordinary way."""
    async with (
        _app(tmp_path, upstream) as app,
        on_socket(app) as ours,
        on_socket(app, http=HttpToolsProtocol) as plain,
    ):
        await _settle(plain.port)
        await _settle(plain.port)
        for request in _requests():
            expected = _comparable((await ask(plain.port, request))[0])
            for _ in range(2):  # cold, and when all is at hand
                assert _comparable((await ask(ours.port, request))[0]) == expected, request
            (twice,) = {str(_comparable(a)) for a in await ask(ours.port, request, request)}
            assert twice == str(expected), request
        assert ours.fast > len(_requests()) / 2, "most of it went without a task"


async def test_both_ways_are_logged_alike(tmp_path: Path, upstream: Upstream) -> None:
    """The events of a request are the same both ways, but for the time it took."""
    events: list[Event] = []
    async with (
        _app(tmp_path, upstream, events.append) as app,
        on_socket(app) as ours,
        on_socket(app, http=HttpToolsProtocol) as plain,
    ):
        await _settle(plain.port)
        for request in _requests():
            seen = []
            for port in (plain.port, ours.port, ours.port):
                events.clear()
                await ask(port, request)
                (event,) = [e for e in events if isinstance(e, RequestFinished)]
                fields = {name: getattr(event, name) for name in event.__struct_fields__}
                del fields["duration_ms"]
                seen.append(fields)
            assert seen[0] == seen[1] == seen[2], request


WARM = [
    get("/simple/"),
    get("/simple/local/", f"Accept: {JSON}", "Accept-Encoding: gzip"),
    get("/simple/local/", method="HEAD"),
    get("/simple/remote/"),
    get("/simple/remote/", "If-None-Match: *"),
    get("/simple/remote/", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"),
    get("/simple/Local"),
    get("/simple"),
    get(f"/resources/local/{LOCAL.filename}"),
    get(f"/resources/local/{LOCAL.filename}", method="HEAD"),
    get(f"/resources/local/{LOCAL.filename}", "Range: bytes=3-9"),
    get(f"/resources/local/{BIG.filename}"),
    get(f"/resources/local/{LOCAL.filename}.metadata"),
    get("/resources/remote/remote-1.0%2Bcu1-py3-none-any.whl"),
    get("/healthz"),
    get("/readyz"),
]


@pytest.mark.parametrize("request_", WARM, ids=lambda r: r.split(b"\r")[0].decode())
async def test_what_is_at_hand_takes_no_task(
    tmp_path: Path, upstream: Upstream, request_: bytes
) -> None:
    """Pages, lists, redirects, metadata, files and health take the fast lane when warm."""
    async with _app(tmp_path, upstream) as app, on_socket(app) as server:
        for _ in range(5):  # the second may come when what was looked at is to be looked at again
            before = server.fast
            await ask(server.port, request_, request_)
            if server.fast - before == 2:
                return
        pytest.fail("it never went without a task")


@pytest.mark.parametrize(
    "request_",
    [
        get("/simple/local/", "Cache-Control: no-cache"),
        get("/simple/local/", "Accept: text/html", f"Accept: {JSON}"),
        get("/simple/local/", "Content-Length: 3") + b"abc",
        get("/simple/local/", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        get("/simple/local/", "Expect: 100-continue"),
        get("/simple/local/", method="POST"),
        get("/simple/absent/"),
        get("/simple/local/").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_what_is_unusual_goes_the_ordinary_way(
    tmp_path: Path, upstream: Upstream, request_: bytes
) -> None:
    """Bodies, repeated headers, other methods, absence and revalidation take no fast lane."""
    async with _app(tmp_path, upstream) as app, on_socket(app) as server:
        for _ in range(2):
            (answer,) = await ask(server.port, request_, answers=1)
            assert answer.status in {200, 404, 405}
        assert server.fast == 0


async def test_pipelined_requests_are_answered_in_turn(tmp_path: Path, upstream: Upstream) -> None:
    """Answers come in the order of their requests, whichever way each of them took."""
    big, small = f"/resources/local/{BIG.filename}", f"/resources/local/{LOCAL.filename}"
    targets = ["/healthz", big, "/simple/local/", small, "/nothing", big, small, "/healthz"]
    async with _app(tmp_path, upstream, small_file_bytes=0) as app, on_socket(app) as server:
        apart = [(await ask(server.port, get(target)))[0] for target in targets]
        for _ in range(3):
            together = await ask(server.port, *map(get, targets))
            assert list(map(_comparable, together)) == list(map(_comparable, apart))


async def test_a_slow_reader_gets_large_files_whole(tmp_path: Path, upstream: Upstream) -> None:
    """Files that do not fit into the socket's buffer arrive whole, one behind the other."""
    big = get(f"/resources/local/{BIG.filename}")
    async with _app(tmp_path, upstream, small_file_bytes=0) as app, on_socket(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**16)
        writer.write(big * 12)
        received = b""
        async with asyncio.timeout(20):
            while len(received) < 12 * len(BIG.content):
                piece = await reader.read(50_000)
                assert piece
                received += piece
        writer.close()
        assert received.count(b"HTTP/1.1 200 OK") == 12
        assert received.count(BIG.content[-500:]) == 12


async def test_a_file_is_what_was_checked(tmp_path: Path, upstream: Upstream) -> None:
    """A file replaced while it is asked for is sent as the old or as the new one, never mixed."""
    others = [build_wheel("local", "1.0", files={"data": os.urandom(3_000)}) for _ in range(8)]
    async with _app(tmp_path, upstream) as app, on_socket(app) as server:
        path = tmp_path / "packages" / LOCAL.filename
        target = get(f"/resources/local/{LOCAL.filename}")
        seen = set()
        for built in others:
            aside = path.with_suffix(".part")
            aside.write_bytes(built.content)
            aside.rename(path)
            for _ in range(40):
                (answer,) = await ask(server.port, target)
                assert answer.status in {200, 503}
                if answer.status == 200:
                    digest = hashlib.sha256(answer.body).hexdigest()
                    assert answer.header(b"etag") == f'"sha256:{digest}"'.encode()
                    seen.add(digest)
                await asyncio.sleep(0.02)
        assert {built.sha256 for built in others} <= seen


async def test_a_redirect_mode_has_no_bytes(tmp_path: Path, upstream: Upstream) -> None:
    """In redirect mode the remote file is a redirect both ways, and streamed in stream mode."""
    target = get("/resources/remote/remote-1.0%2Bcu1-py3-none-any.whl")
    async with _app(tmp_path, upstream, files=FilesMode.STREAM) as app, on_socket(app) as server:
        for _ in range(2):
            (answer,) = await ask(server.port, target)
            assert (answer.status, answer.body) == (200, REMOTE.content)


async def test_no_more_than_the_begin_of_long_texts_is_told(
    tmp_path: Path, upstream: Upstream
) -> None:
    """Whatever a client sends, the lines that wait to be written take little memory."""
    events: list[Event] = []
    async with _app(tmp_path, upstream, events.append) as app, on_socket(app) as server:
        long = "x" * 60_000
        await ask(server.port, get("/healthz", f"User-Agent: pip/1 {long}"))
        await ask(server.port, get(f"/{long}"))
    agent, path = [event for event in events if isinstance(event, RequestFinished)]
    assert agent.user_agent == f"pip/1 {long}"[:1000]
    assert path.path == f"/{long}"[:1000]


class _Observed(Request):
    """A request of which can be seen that it is gone."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("target", ["/simple/local/", "/simple/", "/healthz", "/nothing"])
async def test_a_request_is_gone_when_nobody_holds_it(
    tmp_path: Path, upstream: Upstream, target: str
) -> None:
    """What a request remembers does not keep it: no collector has to look for it."""
    async with _app(tmp_path, upstream) as app:
        request = _Observed("GET", target, b"", {b"host": b"x"})
        app.peek(request)
        observed = weakref.ref(request)
        gc.disable()
        try:
            del request
            assert observed() is None
        finally:
            gc.enable()
