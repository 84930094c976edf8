"""Requests that were cut, joined and damaged at random: each has one whole answer, in turn."""

from collections.abc import Iterator
from typing import Any

import httptools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simple_repository_server.observe.events import InternalFailure
from simple_repository_server.web.server.heads import is_host
from tests.web.answers import parse_answers
from tests.web.hostile import FILE, PAGE, SMALL, STREAM, Background, exchange, in_background
from tests.web.lane import get

_SMALL = f"/resources/local/{SMALL.filename}"
REQUESTS = [
    *[get(target) for target in ("/healthz", "/simple/", PAGE, "/nothing", _SMALL)],
    *[get(target, method="HEAD") for target in ("/healthz", FILE, "/nothing")],
    get(FILE, "Range: bytes=5-90000"),
    get(STREAM, "Range: bytes=5-90"),
    get(PAGE, "Accept-Encoding: gzip"),
    get(PAGE, "Connection: close"),
    get(PAGE, "If-None-Match: *"),
    get("/healthz", "Content-Length: 5") + b"GET /",
    get(PAGE, "Content-Length: 3", method="POST") + b"abc",
    get(PAGE, "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\n\r\n",
    get(PAGE, "Expect: 100-continue"),
    get(PAGE, "Upgrade: h2c", "Connection: Upgrade"),
    get("/healthz").replace(b"1.1", b"1.0"),
]
#: What turns one request into two, or hides one, where somebody reads it in another way.
PIECES = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\t", b"\r\n\r\n", b"GET ", b"HTTP/1.1", b"0",
    b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"\xff",
    b"Connection: close\r\n", b" folded\r\n", b"0\r\n\r\n", b"Content-Length: 0\r\n",
]  # fmt: skip


@st.composite
def _bytes(draw: st.DrawFn) -> bytes:
    """A few requests, one behind the other, damaged or not."""
    raw = bytearray(b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=6))))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(raw)))
        how = draw(st.sampled_from(["insert", "insert", "replace", "cut", "end"]))
        if how == "insert":
            raw[at:at] = draw(st.sampled_from(PIECES))
        elif how == "replace":
            raw[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif how == "cut":
            del raw[at : at + draw(st.integers(1, 40))]
        else:
            del raw[at:]
    return bytes(raw)


class _Parsed:
    """What a parser alone makes of all the bytes: the methods of the requests that have answers.

    None stands for a refusal, which is the last answer.
    """

    def __init__(self, raw: bytes) -> None:
        self.methods: list[bytes | None] = []
        self._is_over = self._in_body = False
        self._names: list[tuple[bytes, bytes]] = []
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self._parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            if not self._is_over:
                self.methods.append(None)

    def on_message_begin(self) -> None:
        self._names = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._names.append((name.lower(), value.lower()))

    def on_headers_complete(self) -> None:
        if self._is_over:
            return
        version, method = self._parser.get_http_version(), self._parser.get_method()
        names = [name for name, _ in self._names]
        hosts = [value.rstrip(b" \t") for name, value in self._names if name == b"host"]
        codings = [value for name, value in self._names if name == b"transfer-encoding"]
        is_wrong = (
            version not in {"1.0", "1.1"}
            or len(hosts) > 1
            or (not hosts and version == "1.1")
            or not all(map(is_host, hosts))
            or codings not in ([], [b"chunked"])
        )
        self.methods.append(None if is_wrong else method)
        self._is_over = (
            is_wrong
            or version == "1.0"
            or not self._parser.should_keep_alive()
            or self._parser.should_upgrade()
            or b"expect" in names
            or bool(codings)
            or int(dict(self._names).get(b"content-length", 0)) > 64 * 2**20
        )


@pytest.fixture(scope="module", params=[True, False], ids=["uvloop", "asyncio"])
def served(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """One server for all examples, in which nothing unexpected happens."""
    with in_background(tmp_path_factory.mktemp("index"), use_uvloop=request.param) as server:
        yield server
    assert server.errors == []
    assert [e for e in server.events if isinstance(e, InternalFailure)] == []


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(raw=_bytes(), data=st.data())
def test_each_request_has_its_answer(served: Background, raw: bytes, data: st.DataObject) -> None:
    """However the bytes come, each request has one whole answer, in turn; what is none ends it."""
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(raw) - 1)), max_size=4)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a < b]
    expected = _Parsed(raw).methods
    answers = parse_answers(exchange(served.port, *pieces), [m or b"GET" for m in expected])
    statuses = [a.status for a in answers]
    assert len(answers) == len(expected), statuses
    for method, status in zip(expected, statuses, strict=True):
        if method is None:
            assert status in {400, 505}
        elif method not in {b"GET", b"HEAD"}:
            assert status in {400, 405}
        else:
            assert status in {200, 206, 301, 304, 400, 404, 406}
    again = parse_answers(exchange(served.port, raw), [m or b"GET" for m in expected])
    assert [a.status for a in again] == statuses
    assert [a.body for a in again] == [a.body for a in answers]
