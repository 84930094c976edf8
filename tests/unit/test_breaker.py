"""The circuit breaker of an origin: what opens it, when it is probed, what closes it."""

import pytest

from simple_repository_server.upstream.breaker import Breaker, Failure

BASE = "https://index.example/simple/"
#: What happened: an address without an answer, or one with a status (0: its connection broke off).
Happened = str | tuple[str, int]


def _after(*happened: Happened, breaker: Breaker | None = None) -> Breaker:
    breaker = breaker or Breaker()
    for one in happened:
        if isinstance(one, str):
            failure = Failure(url=BASE + one, reason="no connection")
            breaker = breaker.unanswered(failure, now=100.0, chance=0.0)
        elif not one[1]:
            failure = Failure(url=BASE + one[0], reason="broke off")
            breaker = breaker.disconnected(failure, now=100.0, chance=0.0)
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
        ([("a", 0)] * 9, False),
        ([("a?sig=1", 0), ("a?sig=2", 0), ("a?sig=3", 0)], False),
        ([("a", 0), ("b", 0)] * 9, False),
        ([("a", 0), ("b", 0), ("c", 0)], True),
        ([("a", 0), ("b", 0), ("b", 200), ("c", 0)], False),
        ([("a", 0), ("b", 503), ("c", 0)], True),
        ([("a", 0), ("a", 503), ("a", 0)], False),
        ([("a", 0), "a"], False),
        ([("a", 0), "a", "a"], True),
        (["a", "a", ("a", 0)], True),
    ],
)
def test_circuit_opens_after_three_failures(happened: list[Happened], is_open: bool) -> None:
    """Three attempts without an answer open it, or three addresses that fail; a success resets.

    An address whose connection broke off counts as one attempt without an answer.
    """
    assert _after(*happened).is_open is is_open


@pytest.mark.parametrize("status", [200, 206, 302, 304, 401, 403, 404, 429])
def test_any_answer_below_500_closes_it(status: int) -> None:
    """The state is the initial one again, also for the intervals."""
    breaker = Breaker(open_after=2, first_s=0.5, longest_s=7)
    assert _after("a", "a", ("a", status), breaker=breaker) == breaker


def test_failures_of_earlier_requests_do_not_delay_the_probe() -> None:
    """A request that began before the circuit opened changes nothing when it fails."""
    breaker = _after("a", "a", "a")
    assert _after("b", ("c", 503), ("d", 501), ("e", 0), breaker=breaker) is breaker


@pytest.mark.parametrize(
    ("chance", "expected"),
    [
        (0.0, [0.5, 1, 2, 4, 8, 15, 15, 15]),
        (0.5, [0.75, 1.5, 3, 6, 12, 22.5, 22.5, 22.5]),
        (1.0, [1, 2, 4, 8, 16, 30, 30, 30]),
    ],
)
def test_probe_intervals_double_up_to_the_longest(chance: float, expected: list[float]) -> None:
    """Intervals double up to a limit, and a probe is due somewhere in the second half of one."""
    failure = Failure(url=BASE, reason="no connection")
    breaker = Breaker(open_after=1).unanswered(failure, now=50.0, chance=chance)
    waits = []
    for _ in expected:
        waits.append(breaker.wait_s(50.0))
        breaker = breaker.on_probe_failed(failure, now=50.0, chance=chance)
    assert waits == expected


def test_thousands_of_failed_probes_do_not_overflow() -> None:
    """However many probes fail, the next one is due after the longest interval."""
    breaker = _after("a", "a", "a")
    for _ in range(2000):
        breaker = breaker.on_probe_failed(Failure(url=BASE, reason="x"), now=7.0, chance=0.0)
    assert breaker.wait_s(7.0) == 15


def test_wait_is_never_negative() -> None:
    """The wait for a probe counts down to 0, and is 0 while the circuit is closed."""
    breaker = _after("a", "a", "a")
    assert [breaker.wait_s(now) for now in (100.0, 100.25, 100.5, 999.0)] == [0.5, 0.25, 0, 0]
    assert Breaker().wait_s(0.0) == 0


def test_base_and_failed_address_are_probed_in_turn() -> None:
    """Probes alternate between the base and the address a client requested last."""
    breaker = _after("a", "b", "c")
    urls = []
    for _ in range(4):
        urls.append(breaker.probe_url(BASE))
        failure = Failure(url=urls[-1], reason="it stopped answering", timed_out=True)
        breaker = breaker.on_probe_failed(failure, now=0.0, chance=0.0)
    assert urls == [BASE, BASE + "c"] * 2
    assert breaker.failure == Failure(url=BASE + "c", reason="it stopped answering", timed_out=True)


def test_probe_that_fails_after_closing_changes_nothing() -> None:
    """A probe that fails after the circuit was closed does not open it again."""
    breaker = Breaker()
    failure = Failure(url=BASE, reason="no connection")
    assert breaker.on_probe_failed(failure, now=0.0, chance=0.0) is breaker


@pytest.mark.parametrize(
    ("happened", "is_silent"),
    [
        ([], False),
        (["a"], True),
        ([("a", 503)], False),
        ([("a", 0)], True),
        ([("a", 0), ("b", 404)], False),
        (["a", ("a", 404)], False),
    ],
)
def test_silence_is_no_answer_since_the_last_success(
    happened: list[Happened], is_silent: bool
) -> None:
    """An origin is silent if the last attempts had no answer; one that answers 5xx is not."""
    assert _after(*happened).is_silent is is_silent


def test_a_connection_that_breaks_off_makes_the_origin_suspect() -> None:
    """It is probed at intervals; an answer clears it, and failed probes open the circuit."""
    suspect = _after(("a", 0))
    assert suspect.wait_s(100.0) == 0.5
    assert _after(("b", 0), breaker=suspect).probe_at == suspect.probe_at
    assert _after(("base", 200), breaker=suspect) == Breaker()
    opened = []
    for _ in range(3):
        failure = Failure(url=BASE, reason="x")
        suspect = suspect.on_probe_failed(failure, now=100.5, chance=0.0)
        opened.append(suspect.is_open)
    assert opened == [False, True, True]
    assert suspect.wait_s(100.5) == 4.0
