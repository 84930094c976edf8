"""Decisions about connections and heads, as tables."""

import httptools
import pytest

from simple_repository_server.web.server.connections import (
    Limits,
    Phase,
    Progress,
    idle_s,
    stalled,
)
from simple_repository_server.web.server.heads import (
    MAX_HEAD_BYTES,
    body_length,
    end_of_head,
    parse_target,
    reject_reason,
)

LIMITS = Limits(max_connections=100, head_s=10, idle_s=80, stall_s=60, slow_rate=1000, slow_s=180)


@pytest.mark.parametrize(
    ("connections", "seconds"),
    [(0, 80), (1, 80), (50, 80), (75, 40), (90, 16), (99, 5), (100, 5), (150, 5)],
)
def test_idle_ones_have_less_time_the_more_there_are(connections: int, seconds: float) -> None:
    """All the time up to half of what is possible, then less and less, down to a few seconds."""
    assert idle_s(LIMITS, connections) == pytest.approx(seconds)
    assert LIMITS.deadline_s(Phase.IDLE, connections) == pytest.approx(seconds)


def test_each_phase_but_busy_has_a_deadline() -> None:
    """A head has its own time, however many connections there are."""
    assert LIMITS.deadline_s(Phase.HEAD, 100) == LIMITS.deadline_s(Phase.HEAD, 1) == 10
    for phase in set(Phase) - {Phase.BUSY}:
        assert LIMITS.deadline_s(phase, 1) > 0


@pytest.mark.parametrize(
    ("steps", "word"),
    [
        ([], ""),
        ([(60, 0)], ""),
        ([(61, 0)], "nothing for 60 s"),
        ([(59, 1), (118, 2)], ""),
        ([(59, 1), (120, 1)], "nothing for 60 s"),
        # Little, for three minutes; then enough.
        ([(59, 1), (118, 2), (177, 3), (181, 4)], "less than 1000 bytes/s for 180 s"),
        ([(59, 1), (118, 2), (177, 3), (181, 181_000)], ""),
        ([(50, 90_000), (100, 181_000), (150, 181_001), (181, 181_002)], ""),
        # A rate that was good once counts no longer.
        ([(50, 9_000_000), (100, 9_000_001), (181, 9_000_001)], "nothing for 60 s"),
        ([(t, 10**9 + t) for t in range(50, 401, 50)], "less than 1000 bytes/s"),
    ],
)
def test_who_takes_too_little_is_stalled(steps: list[tuple[float, int]], word: str) -> None:
    """Nothing for a minute, or next to nothing over minutes."""
    progress = Progress(0, 0.0, 0, 0.0)
    reasons = [stalled(progress, taken, now, LIMITS) for now, taken in steps]
    assert not any(reasons[:-1])
    assert word in (reasons or [""])[-1]
    assert bool(word) == any(reasons)


HOST = (b"host", b"a")


@pytest.mark.parametrize(
    ("headers", "version", "received", "status"),
    [
        ([HOST], "1.1", 100, None),
        ([HOST], "1.0", 100, None),
        ([], "1.0", 100, None),
        ([], "1.1", 100, 400),
        ([HOST, HOST], "1.1", 100, 400),
        ([HOST, HOST], "1.0", 100, 400),
        ([HOST], "2.0", 100, 505),
        ([], "0.9", 100, 505),
        ([HOST], "1.1", MAX_HEAD_BYTES, None),
        ([HOST], "1.1", MAX_HEAD_BYTES + 1, 431),
        ([HOST, (b"transfer-encoding", b"chunked")], "1.1", 100, None),
        ([HOST, (b"transfer-encoding", b" Chunked ")], "1.1", 100, None),
        ([HOST, (b"transfer-encoding", b"gzip, chunked")], "1.1", 100, 400),
        ([HOST, (b"transfer-encoding", b"identity")], "1.1", 100, 400),
        ([HOST, (b"transfer-encoding", b"")], "1.1", 100, 400),
    ],
)
def test_what_is_reject_reason_a_head(
    headers: list[tuple[bytes, bytes]], version: str, received: int, status: int | None
) -> None:
    """One Host, a version we speak, no coding but chunks, and no more than 64 kB."""
    problem = reject_reason(headers, version, received)
    assert (problem.status if problem else None) == status


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([HOST], 0),
        ([HOST, (b"content-length", b"0")], 0),
        ([HOST, (b"content-length", b"00012")], 12),
        ([HOST, (b"transfer-encoding", b"chunked")], None),
        ([HOST, (b"content-length", b"5"), (b"expect", b"100-continue")], None),
    ],
)
def test_how_much_follows_a_head(headers: list[tuple[bytes, bytes]], length: int | None) -> None:
    """Its Content-Length, and nobody knows for chunks or where we are asked first."""
    assert body_length(headers) == length


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/simple/a%2Fb/?x=%20&y", "/simple/a/b/", b"x=%20&y"),
        (b"/a%00%C3%A9%FF", "/a\0é�", b""),
        (b"//other.example/x", "//other.example/x", b""),
        (b"/../../etc", "/../../etc", b""),
        (b"http://other.example/x?y", "/x", b"y"),
        (b"http://other.example", "/", b""),
        (b"http://other.example?y", "/", b"y"),
        (b"*", "*", b""),
        (b"/a#b", "/a", b""),
    ],
)
def test_where_a_target_leads(target: bytes, path: str, query: bytes) -> None:
    """The decoded path and the query as it is; of an absolute one, its path."""
    assert parse_target(target) == (path, query)


@pytest.mark.parametrize("target", [b"", b"x", b"?x", b"a:443", b"/a b", b"/\xc3\xa9"])
def test_what_is_no_target(target: bytes) -> None:
    """Neither a path nor an address."""
    with pytest.raises(httptools.HttpParserInvalidURLError):
        parse_target(target)


@pytest.mark.parametrize("start", [0, 5])
def test_a_head_ends_where_its_empty_line_does(start: int) -> None:
    """However it was cut, and whatever comes behind it."""
    head, behind = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /b HTTP/1.1\r\nHost: b\r\n\r\n"
    for cut in range(1, len(head)):
        before, rest = head[:cut], b"x" * start + head[cut:]
        for more in (b"", behind, behind * 2, b"\r", b"\r\n\r\n"):
            assert end_of_head(rest + more, start, before[-3:]) == len(rest)
        for short in range(start, len(rest) - 1):
            assert end_of_head(rest[:short], start, before[-3:]) == short
    assert end_of_head(head + behind, 0, b"") == len(head)
    assert end_of_head(b"GET / HTTP/1.1\r\n", 0, b"") == 16
