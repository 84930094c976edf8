"""The fast lane remembers requests by their bytes, within a budget."""

import tracemalloc

from simple_repository_server import MemoryRepository
from simple_repository_server.web.index import IndexApp
from simple_repository_server.web.server.fast_lane import FastLane


def _raw(number: int, padding: int) -> tuple[bytes, bytes, dict[bytes, bytes]]:
    target = b"/simple/p%06d/" % number
    headers = {b"host": b"x", b"user-agent": b"a" * padding}
    lines = b"".join(b"%b: %b\r\n" % pair for pair in headers.items())
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (target, lines), target, headers


def test_remembered_requests_stay_within_their_budget() -> None:
    """Whatever their length, the memory they take is within the budget."""
    app = IndexApp(MemoryRepository(), memory_bytes=8 * 1024 * 1024)
    for padding in (10, 1900):
        lane = FastLane(app)
        tracemalloc.start()
        for number in range(2_000):
            raw, target, headers = _raw(number, padding)
            request = lane.request(b"GET", target, headers)
            assert request is not None
            lane.remember(raw, request)
            assert raw in lane.seen[0]
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert held < app.request_bytes


def test_without_a_budget_no_request_is_remembered() -> None:
    """A budget smaller than one request holds, too."""
    lane = FastLane(IndexApp(MemoryRepository(), memory_bytes=0))
    raw, target, headers = _raw(1, 10)
    request = lane.request(b"GET", target, headers)
    assert request is not None
    lane.remember(raw, request)
    assert not any(lane.seen)
