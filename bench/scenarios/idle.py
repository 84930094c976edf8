"""What silent connections cost."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

from bench.results import Row, single
from bench.scenario import Bench, Target
from bench.scenarios.pages import page_targets
from bench.servers import ours

WANTED = 20_000
#: Of the descriptors it may have: of more connections the server closes idle ones early.
_PART = 0.4
_PER_ADDRESS = 10_000
_WAIT_S = 10
_SETTLE_S = 1.0


def idle(bench: Bench) -> Iterator[Row]:
    """Memory for connections that each made one request for the small page, and stay silent."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the servers inherit it
    count = min(WANTED, int(hard * _PART))
    with ours(bench.root, f"{bench.upstream_url}/json/") as server:
        targets = page_targets(bench, server, "small")
        own, nginx = _cost(targets["ours"], count), _cost(targets["nginx"], count)
    note = f"scaled from {own.still_open:,} of {own.answered:,} (nginx {nginx.still_open:,})"
    yield single(
        f"memory for {WANTED:,} idle connections", "MB", own.kb * WANTED / 1024,
        nginx=nginx.kb * WANTED / 1024, note=note,
    )  # fmt: skip
    note = f"{own.before_mb:.0f} MB before, {own.after_mb:.0f} MB with them"
    yield single("memory for one of them", "kB", own.kb, nginx=nginx.kb, note=note)


class _Cost:
    """Memory before and with the connections."""

    before_mb = after_mb = 0.0
    answered = still_open = 0

    @property
    def kb(self) -> float:
        """For one of those that are open."""
        return max(0.0, self.after_mb - self.before_mb) * 1024 / self.still_open


def _cost(target: Target, count: int) -> _Cost:
    cost = _Cost()
    cost.before_mb = target.server.memory_mb()
    with ExitStack() as stack, target.server.cpu():
        opened: list[socket.socket] = []
        # A server may have a limit of its own: what it took until then is what is measured.
        with suppress(OSError):
            for number in range(count):
                source = f"127.0.0.{2 + number // _PER_ADDRESS}"
                opened.append(stack.enter_context(_silent(target, source)))
        time.sleep(_SETTLE_S)
        cost.answered = len(opened)
        cost.still_open = sum(map(_is_open, opened))
        cost.after_mb = target.server.memory_mb()
    if cost.still_open < min(1_000, count):
        raise RuntimeError(
            f"{target.url}: {cost.answered} connections were answered and {cost.still_open} "
            f"are open, of {count}"
        )
    return cost


def _silent(target: Target, source: str) -> socket.socket:
    """A connection whose one request was answered. Raises `OSError`."""
    parts = urlsplit(target.url)
    host, _, port = parts.netloc.partition(":")
    lines = "".join(f"{name}: {value}\r\n" for name, value in target.headers.items())
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{lines}\r\n"
    connection = socket.create_connection((host, int(port)), _WAIT_S, (source, 0))
    try:
        connection.sendall(request.encode())
        answer = connection.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"answered {answer[:50]!r}")
        connection.setblocking(False)
    except OSError:
        connection.close()
        raise
    return connection


def _is_open(connection: socket.socket) -> bool:
    """Whether the server has not closed it; what is left of the answer is read."""
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
