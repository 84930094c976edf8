"""Measuring: requests per second, latencies and CPU time under load, and single requests."""

import http.client
import re
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Load(msgspec.Struct, frozen=True):
    """What a server did under load."""

    per_s: float
    p50_ms: float
    p99_ms: float
    mb_per_s: float
    #: How many requests were answered.
    answers: float
    #: CPU time of the server's whole process tree for each answer.
    cpu_us: float = 0.0


def wrk(
    url: str, *, seconds: int, connections: int = 16, headers: Mapping[str, str] | None = None
) -> Load:
    """Load from one thread; connections are kept alive unless the headers say otherwise.

    Raises `RuntimeError` if any answer was an error, or no answer came.
    """
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is needed: apt-get install nginx wrk")
    options = [f"-H{name}: {value}" for name, value in (headers or {}).items()]
    done = subprocess.run(
        [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *options, url],
        capture_output=True,
        text=True,
        check=True,
    )
    text = done.stdout
    count, bytes_read, unit = re.search(  # type: ignore[union-attr]
        r"(\d+) requests in [\d.]+\w+, ([\d.]+)(\w+) read", text
    ).groups()
    if (errors := _errors(text)) or not int(count):
        raise RuntimeError(f"{url}: {errors} errors, {count} answers")
    duration = float(re.search(r"requests in ([\d.]+)s", text)[1])  # type: ignore[index]
    scale = {"B": 1e-6, "KB": 1.024e-3, "MB": 1.048576, "GB": 1073.741824}[unit]
    return Load(
        int(count) / duration,
        _latency(text, "50%"),
        _latency(text, "99%"),
        float(bytes_read) * scale / duration,
        int(count),
    )


def _errors(text: str) -> int:
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    )
    errors = int(wrong[1]) if wrong else 0
    return errors + (sum(map(int, broken.groups())) if broken else 0)


def _latency(text: str, percentile: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m)", text)
    return float(found[1]) * _UNITS_MS[found[2]] if found else 0.0


class Download(msgspec.Struct, frozen=True):
    """One file, downloaded over a new connection."""

    status: int
    bytes: int
    first_byte_ms: float
    total_ms: float
    #: CPU time of the server's process tree; 0 if not measured.
    cpu_us: float = 0.0

    @property
    def mb_per_s(self) -> float:
        """The rate of the whole download."""
        return self.bytes / 1000 / self.total_ms


def download(url: str) -> Download:
    """Download a file and discard it, with little CPU time."""
    parts = urlsplit(url)
    host, _, port = parts.netloc.partition(":")
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    buffer = bytearray(1024 * 1024)
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        begun = time.perf_counter()
        connection.sendall(request.encode())
        count = connection.recv_into(buffer)
        first = time.perf_counter()
        head, _, body = bytes(buffer[:count]).partition(b"\r\n\r\n")
        size = len(body)
        while count := connection.recv_into(buffer):
            size += count
        done = time.perf_counter()
    return Download(int(head.split()[1]), size, (first - begun) * 1000, (done - begun) * 1000)


def median(loads: list[Load]) -> Load:
    """Each figure's median over several runs."""
    fields = Load.__struct_fields__
    return Load(*(statistics.median(getattr(load, name) for load in loads) for name in fields))


def fetch(
    url: str, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes, float]:
    """One request on a new connection: status, headers, body, and the milliseconds it took."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    connection.connect()
    begun = time.perf_counter()
    connection.request("GET", target, headers=dict(headers or {}))
    response = connection.getresponse()
    body = response.read()
    took = (time.perf_counter() - begun) * 1000
    given = {name.lower(): value for name, value in response.getheaders()}
    connection.close()
    return response.status, given, body, took


def fetch_ok(
    url: str, headers: Mapping[str, str] | None = None, *, status: int = 200
) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer that must have the status; raises `RuntimeError`."""
    found, given, body, _ = fetch(url, headers)
    _check(url, found, status, body)
    return given, body


def took_ms(url: str, headers: Mapping[str, str] | None = None) -> float:
    """How long an answer took that must have status 200; raises `RuntimeError`."""
    found, _, body, took = fetch(url, headers)
    _check(url, found, 200, body)
    return took


def _check(url: str, found: int, wanted: int, body: bytes) -> None:
    if found != wanted:
        raise RuntimeError(f"{url}: status {found} instead of {wanted}, {body[:200]!r}")
