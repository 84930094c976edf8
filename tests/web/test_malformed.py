"""Garbage, half requests, contradictions, tricks: one right answer or a refusal, never a hang."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from simple_repository_server.observe.events import InternalFailure
from tests.web.answers import parse_answers
from tests.web.hostile import FILE, PAGE, SMALL, Background, exchange, in_background
from tests.web.lane import get

HEALTH = get("/healthz")
POST = get("/healthz", method="POST")


@pytest.fixture(scope="module", params=[True, False], ids=["uvloop", "asyncio"])
def served(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """One server for all tests, in which nothing unexpected happens."""
    with in_background(tmp_path_factory.mktemp("index"), use_uvloop=request.param) as server:
        yield server
    assert server.errors == []
    assert [e for e in server.events if isinstance(e, InternalFailure)] == []


def _post(*lines: str, body: bytes = b"") -> bytes:
    return get("/healthz", *lines, method="POST") + body


def _head(first: str, *lines: bytes) -> bytes:
    return b"\r\n".join([first.encode("latin-1"), *lines, b"", b""])


HOST = b"Host: a"
CHUNKED = "Transfer-Encoding: chunked"
#: What is sent, and the statuses of all answers to it; whoever is refused is closed.
CASES: dict[str, tuple[bytes, list[int]]] = {
    "garbage": (b"\x00\xff garbage \r\n\r\n" * 100, [400]),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200, [400]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", [400]),
    "version 2.0": (_head("GET /healthz HTTP/2.0", HOST), [505]),
    "version 1.2": (_head("GET /healthz HTTP/1.2", HOST), [400]),
    "version 0.9": (b"GET /healthz\r\n\r\n", [505]),
    "1.0": (_head("GET /healthz HTTP/1.0") + HEALTH, [200]),
    "1.0 keep-alive": (_head("GET /healthz HTTP/1.0", b"Connection: keep-alive"), [200]),
    "lower case": (_head("get /healthz HTTP/1.1", HOST), [400]),
    "no Host": (_head("GET /healthz HTTP/1.1"), [400]),
    "two Hosts": (_head("GET /healthz HTTP/1.1", HOST, HOST), [400]),
    "bare LF": (b"GET /healthz HTTP/1.1\nHost: a\n\n" + HEALTH, [400]),
    "bare CR": (b"GET /healthz HTTP/1.1\rHost: a\r\r" + HEALTH, [400]),
    "folded": (_head("GET /healthz HTTP/1.1", HOST, b"A: b", b" c"), [400]),
    "NUL": (_head("GET /healthz HTTP/1.1", HOST, b"A: b\0c"), [400]),
    "space before colon": (_head("GET /healthz HTTP/1.1", b"Host : a"), [400]),
    "no colon": (_head("GET /healthz HTTP/1.1", HOST, b"abc"), [400]),
    "spaces in target": (_head("GET /a b HTTP/1.1", HOST), [400]),
    "bytes in target": (_head("GET /\xe9 HTTP/1.1", HOST), [400]),
    "CL and TE": (_post("Content-Length: 3", CHUNKED, body=b"0\r\n\r\n" + HEALTH), [400]),
    "TE and CL": (_post(CHUNKED, "Content-Length: 3", body=b"0\r\n\r\n" + HEALTH), [400]),
    "TE twice": (_post(CHUNKED, CHUNKED, body=b"0\r\n\r\n" + HEALTH), [400]),
    "TE unknown": (_post("Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + HEALTH), [400]),
    "TE identity": (get("/healthz", "Transfer-Encoding: identity") + HEALTH, [400]),
    "TE gzip": (_post("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n" + HEALTH), [400]),
    "CL twice": (_post("Content-Length: 3", "Content-Length: 3", body=b"abc"), [400]),
    "CL list": (_post("Content-Length: 3, 3", body=b"abc" + HEALTH), [400]),
    "CL sign": (_post("Content-Length: +3", body=b"abc" + HEALTH), [400]),
    "CL negative": (_post("Content-Length: -1", body=b"abc" + HEALTH), [400]),
    "CL huge": (_post("Content-Length: 99999999999999999999", body=b"abc" + HEALTH), [400]),
    "CL large": (_post("Content-Length: 9999999999999999", body=b"abc" + HEALTH), [405]),
    "chunked": (_post(CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"), [405]),
    "chunked GET": (get("/healthz", CHUNKED) + b"3\r\nabc\r\n0\r\n\r\n", [200]),
    "bad chunk": (_post(CHUNKED, body=b"ZZ\r\n\r\n" + HEALTH), [405]),
    "endless trailer": (_post(CHUNKED, body=b"0\r\n" + b"X: y\r\n" * 1000), [405]),
    "body of a GET": (get("/healthz", "Content-Length: 3") + b"abc" + HEALTH, [200, 200]),
    "request in a body": (
        _post(f"Content-Length: {len(HEALTH)}", body=HEALTH) + HEALTH, [405, 200]
    ),
    "half a body": (_post("Content-Length: 9", body=b"abc"), [405]),
    "expect": (_post("Content-Length: 3", "Expect: 100-continue"), [405]),
    "expect, body": (_post("Content-Length: 3", "Expect: 100-continue", body=b"abc"), [405]),
    "expect GET": (get("/healthz", "Expect: 100-continue") + HEALTH, [200]),
    "expect other": (get("/healthz", "Expect: a-miracle"), [200]),
    "CONNECT": (_head("CONNECT a:443 HTTP/1.1", HOST) + HEALTH, [400]),
    "OPTIONS *": (_head("OPTIONS * HTTP/1.1", HOST), [405]),
    "absolute": (_head("GET http://other/healthz HTTP/1.1", HOST) + HEALTH, [200, 200]),
    "absolute root": (_head("GET http://other HTTP/1.1", HOST), [200]),
    "h2c": (
        get("/healthz", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__") + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [200]
    ),
    "websocket": (get("/", "Connection: upgrade", "Upgrade: websocket") + HEALTH, [200]),
    "close": (get("/healthz", "Connection: close") + HEALTH * 3, [200]),
    "error behind": (HEALTH + get(PAGE) + b"\0\0\0\0", [200, 200, 400]),
    "error behind file": (get(FILE) + b"GET /\n\n", [200, 400]),
    "half behind": (HEALTH * 2 + HEALTH[:-1], [200, 200]),
    "empty lines": (b"\r\n\r\n" + HEALTH + b"\r\n" + HEALTH, [200, 200]),
    "long target": (get("/" + "a" * 60_000), [404]),
    "too long target": (get("/" + "a" * 70_000), [431]),
    "10 MB of headers": (get("/", *[f"X-{i}: {'y' * 1000}" for i in range(10_000)]), [431]),
    "10 MB header": (get("/", "X: " + "y" * 10_000_000), [431]),
    "endless lines": (get("/", *["a:"] * 14_000), [431]),
    "long head behind": (HEALTH + get("/healthz", "X: " + "y" * 70_000) + HEALTH, [200, 431]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("half_close", [True, False])
def test_each_request_has_one_answer(served: Background, name: str, half_close: bool) -> None:
    """What came is answered in turn, what is no request refused, and a refusal is the last word.

    Whatever way the bytes are cut; what says that it is the last is the last.
    """
    raw, statuses = CASES[name]
    if len(raw) < 3000:
        middle = len(raw) // 2
        ways: list[list[bytes]] = [[raw], [raw[:middle], raw[middle:]]]
        ways.append([raw[i : i + 1] for i in range(len(raw))])
    else:
        ways = [[raw]]
    for pieces in ways:
        if not half_close and not _ends(name, statuses):
            continue
        answers = parse_answers(exchange(served.port, *pieces, half_close=half_close))
        assert [a.status for a in answers] == statuses
        assert all(b"Date" in dict(a.headers) or dict(a.headers)[b"date"] for a in answers)
        for answer in answers[:-1]:
            assert (b"connection", b"close") not in answer.headers


def _ends(name: str, statuses: list[int]) -> bool:
    """Whether the server ends the connection, and need not be told to."""
    return statuses[-1] in {400, 431, 505} or name in {
        "close", "1.0", "h2c", "websocket", "expect", "chunked", "bad chunk", "CL large",
    }  # fmt: skip


def test_thousands_are_answered_in_turn(served: Background) -> None:
    """Thousands of requests sent at once are all answered, each in its place."""
    targets = ["/healthz", PAGE, "/nothing", f"/resources/local/{SMALL.filename}"]
    alone = {t: exchange(served.port, get(t, "Connection: close")) for t in targets}
    lengths = {t: parse_answers(a)[0].body for t, a in alone.items()}
    asked = [targets[i * i % 4 if i % 3 else i % 2] for i in range(5000)]
    answers = parse_answers(exchange(served.port, b"".join(map(get, asked))))
    assert [a.body for a in answers] == [lengths[t] for t in asked]


def test_a_file_in_turn(served: Background) -> None:
    """Large files and pages behind each other come whole and in turn."""
    asked = [FILE, PAGE, FILE, "/healthz", FILE]
    answers = parse_answers(exchange(served.port, b"".join(map(get, asked))))
    assert [len(a.body) > 1_000_000 for a in answers] == [True, False, True, False, True]


# --- requests remembered by their bytes ----------------------------------------------------------

LIST, HOME = get("/simple/"), get("/")


@pytest.mark.parametrize(
    "data",
    [
        HEALTH + HOME,
        HOME + HEALTH,
        HEALTH + LIST[:-2],
        HEALTH + b"\r\n",
        HEALTH + b"G",
        HEALTH + b"\0",
        get("/healthz", "Connection: close") + HOME,
        get("/healthz", "Content-Length: 2") + b"ab",
        HEALTH.replace(b"GET", b"HEAD") + HOME,
    ],
)
def test_only_whole_requests_are_remembered(served: Background, data: bytes) -> None:
    """The same bytes mean the same on a new connection, a used one, and behind half a request."""
    methods = [b"HEAD"] if data.startswith(b"HEAD") else []
    first = [a.status for a in parse_answers(exchange(served.port, data), methods)]
    for _ in range(3):
        with_others = exchange(served.port, HEALTH, HEALTH, data)
        answers = parse_answers(with_others, [b"GET", b"GET", *methods])
        assert [a.status for a in answers][2:] == first
        assert [a.body for a in answers[2:]] == [
            a.body for a in parse_answers(exchange(served.port, data), methods)
        ]


def test_known_bytes_within_others_are_no_request(served: Background) -> None:
    """A remembered request that comes as a body, or as the rest of a head, is not answered."""
    for _ in range(3):
        exchange(served.port, HEALTH, HEALTH)
    body = parse_answers(exchange(served.port, HEALTH, POST[:-2] + b"X: y\r\n\r\n"))
    assert [a.status for a in body] == [200, 405]
    announced = get("/nothing", f"Content-Length: {len(HEALTH)}")
    answers = parse_answers(exchange(served.port, HEALTH, announced, HEALTH, HOME))
    assert [a.status for a in answers] == [200, 404, 200]
    assert answers[2].body != answers[0].body
    begun = b"GET /nothing HTTP/1.1\r\nX: "
    answers = parse_answers(exchange(served.port, HEALTH, begun, HEALTH))
    assert [a.status for a in answers] == [200, 404]


def test_it_is_quick(served: Background) -> None:
    """Nothing of all this keeps a deadline waiting: a refusal comes at once."""
    begun = time.monotonic()
    for _ in range(20):
        exchange(served.port, b"\0")
    assert time.monotonic() - begun < 5
