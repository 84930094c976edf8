"""Whether an origin is asked: what opens the breaker, when it is probed, what closes it."""

import pytest

from simple_repository_server.upstream.breaker import Breaker, Failure

BASE = "https://index.example/simple/"
#: What happened: an address without an answer, or one with a status.
Happened = str | tuple[str, int]


def _after(*happened: Happened, breaker: Breaker | None = None) -> Breaker:
    breaker = breaker or Breaker()
    for one in happened:
        if isinstance(one, str):
            failure = Failure(url=BASE + one, reason="no connection")
            breaker = breaker.unanswered(failure, now=100.0, chance=0.0)
        else:
            breaker = breaker.answered(BASE + one[0], one[1], now=100.0, chance=0.0)
    return breaker


@pytest.mark.parametrize(
    ("happened", "is_open"),
    [
        ([], False),
        (["a", "a"], False),
        (["a", "a", "a"], True),
        (["a", "b", "c"], True),
        (["a", "a", ("b", 200), "a"], False),
        (["a", "a", ("b", 404), "a", "a"], False),
        (["a", "a", ("b", 401), "a", "a", "a"], True),
        (["a", "a", ("b", 429), "a"], False),
        (["a", "a", ("b", 503), "a"], True),
        ([("a", 503)] * 9, False),
        ([("a", 500), ("b", 502)] * 9, False),
        ([("a", 500), ("b", 502), ("c", 504)], True),
        ([("a", 500), ("b", 502), ("b", 304), ("c", 504)], False),
        ([("a?sig=1", 503), ("a?sig=2", 503), ("a?sig=3", 503)], False),
        ([(page, 429) for page in "abcdef"], False),
        ([(page, 501) for page in "abcdef"], False),
        ([("a", 503), ("b", 503), "c"], False),
    ],
)
def test_what_opens_it(happened: list[Happened], is_open: bool) -> None:
    """Three silences in a row do, or three addresses that answer 5xx; any success starts anew."""
    assert _after(*happened).is_open is is_open


@pytest.mark.parametrize("status", [200, 206, 302, 304, 401, 403, 404, 429])
def test_any_answer_below_500_closes_it(status: int) -> None:
    """It is as if nothing had happened, also for the intervals."""
    breaker = Breaker(open_after=2, first_s=0.5, longest_s=7)
    assert _after("a", "a", ("a", status), breaker=breaker) == breaker


def test_what_was_under_way_changes_nothing() -> None:
    """Failures of requests that began before it opened do not put off the probe."""
    breaker = _after("a", "a", "a")
    assert _after("b", ("c", 503), ("d", 501), breaker=breaker) is breaker


@pytest.mark.parametrize(
    ("chance", "expected"),
    [
        (0.0, [0.5, 1, 2, 4, 8, 15, 15, 15]),
        (0.5, [0.75, 1.5, 3, 6, 12, 22.5, 22.5, 22.5]),
        (1.0, [1, 2, 4, 8, 16, 30, 30, 30]),
    ],
)
def test_intervals_double(chance: float, expected: list[float]) -> None:
    """Probes come at doubling intervals with an end, each anywhere in their second half."""
    failure = Failure(url=BASE, reason="no connection")
    breaker = Breaker(open_after=1).unanswered(failure, now=50.0, chance=chance)
    waits = []
    for _ in expected:
        waits.append(breaker.wait_s(50.0))
        breaker = breaker.on_probe_failed(failure, now=50.0, chance=chance)
    assert waits == expected


def test_years_of_probes_do_no_harm() -> None:
    """However many probes fail, the next one has its time."""
    breaker = _after("a", "a", "a")
    for _ in range(2000):
        breaker = breaker.on_probe_failed(Failure(url=BASE, reason="x"), now=7.0, chance=0.0)
    assert breaker.wait_s(7.0) == 15


def test_waiting_ends() -> None:
    """What is left until the probe is never less than nothing, and nothing if it is closed."""
    breaker = _after("a", "a", "a")
    assert [breaker.wait_s(now) for now in (100.0, 100.25, 100.5, 999.0)] == [0.5, 0.25, 0, 0]
    assert Breaker().wait_s(0.0) == 0


def test_probes_take_turns() -> None:
    """The base address and what clients wanted last are probed in turns, whatever probes say."""
    breaker = _after("a", "b", "c")
    urls = []
    for _ in range(4):
        urls.append(breaker.probe_url(BASE))
        failure = Failure(url=urls[-1], reason="it stopped answering", timed_out=True)
        breaker = breaker.on_probe_failed(failure, now=0.0, chance=0.0)
    assert urls == [BASE, BASE + "c"] * 2
    assert breaker.failure == Failure(url=BASE + "c", reason="it stopped answering", timed_out=True)


def test_a_probe_that_comes_late_changes_nothing() -> None:
    """A probe that fails after it was closed does not open it again."""
    breaker = Breaker()
    failure = Failure(url=BASE, reason="no connection")
    assert breaker.on_probe_failed(failure, now=0.0, chance=0.0) is breaker
