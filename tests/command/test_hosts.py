"""For which hosts the command answers, and whom it believes about for whom they ask."""

import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from simple_repository_server.testing.distributions import build_wheel
from tests.serving import Server, serving

WHEEL = build_wheel("foo", "1.0", files={"data": b"x" * 400_000})
FILE = f"/resources/foo/{WHEEL.filename}"
TARGETS = ("/", "/simple/", "/simple/foo/", FILE, "/readyz")


class Client:
    """A connection that is kept, so that requests are remembered by their bytes."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)

    def ask(self, target: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Status and body; `_` in the name of a header is `-`, no `host` is ours."""
        self._connection.putrequest(method, target, skip_host="host" in headers)
        for name, value in headers.items():
            self._connection.putheader(name.replace("_", "-"), value)
        self._connection.endheaders()
        response = self._connection.getresponse()
        return response.status, response.read().decode("latin-1")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / WHEEL.filename).write_bytes(WHEEL.content)
    return folder


# --- the host a request is for -------------------------------------------------------------------


def test_on_loopback_only_this_machine_is_answered_for(tmp_path: Path) -> None:
    """A name that somebody made resolve to 127.0.0.1 is refused, warm and cold, on every path."""
    with serving(tmp_path, _packages(tmp_path)) as server, closing(Client(server)) as client:
        for target in TARGETS:
            for _ in range(2):  # cold, and when the same request but for its host is remembered
                for method in ("GET", "HEAD"):
                    for host in (
                        "127.0.0.1",
                        "[::1]:80",
                        "localhost:8000",
                        "a.localhost",
                        "10.1.2.3",
                    ):
                        assert client.ask(target, method, host=host)[0] == 200, (target, host)
                    for host in (
                        "evil.example",
                        "localhost.evil.example",
                        "127.0.0.1.evil.example:1",
                    ):
                        status, body = client.ask(target, method, host=host)
                        assert status == 421, (target, host)
                        assert method == "HEAD" or "--allowed-host" in body
        assert client.ask("/healthz", host="evil.example")[0] == 200


@pytest.mark.parametrize(
    ("options", "answered", "refused"),
    [
        (("--allowed-host", "Index.example"), ["index.EXAMPLE:8000", "127.0.0.1"], ["b.example"]),
        (("--allowed-host", "*.example"), ["a.example", "a.b.example"], ["example", "a.other"]),
        (("--allowed-host", "*"), ["a.example", "b"], []),
        (("--host", "0.0.0.0"), ["a.example", "b"], []),
        (("--host", "0.0.0.0", "--allowed-host", "a.example"), ["a.example", "10.0.0.1"], ["b"]),
    ],
)  # fmt: skip
def test_allowed_hosts(
    tmp_path: Path, options: tuple[str, ...], answered: list[str], refused: list[str]
) -> None:
    """`--allowed-host` names what else is answered; bound wider, nothing is asked without it."""
    folder = _packages(tmp_path)
    with serving(tmp_path, *options, folder) as server, closing(Client(server)) as client:
        for _ in range(2):
            assert [client.ask("/simple/foo/", host=h)[0] for h in answered] == [200] * len(
                answered
            )
            assert [client.ask("/simple/foo/", host=h)[0] for h in refused] == [421] * len(refused)


# --- for whom a proxy asks -----------------------------------------------------------------------

FORWARDED = {
    "x_forwarded_for": "6.6.6.6, 203.0.113.9, 127.0.0.1",
    "x_forwarded_proto": "https",
    "x_forwarded_host": "public.example",
    "x_forwarded_prefix": "/python",
}


def _clients(server: Server) -> list[Any]:
    lines = [json.loads(line) for line in server.log.splitlines()]
    return [line["client"] for line in lines if line["event"] == "request"]


@pytest.mark.parametrize(
    ("options", "client_address", "index"),
    [
        ((), "203.0.113.9", "https://public.example/python/simple/"),
        (("--forwarded-allow-ips", "127.0.0.0/8"), "203.0.113.9", "https://public.example/"),
        (("--forwarded-allow-ips", "127.0.0.1,203.0.113.9"), "6.6.6.6", "https://public.example/"),
        (("--forwarded-allow-ips", "*"), "6.6.6.6", "https://public.example/"),
        (("--forwarded-allow-ips", "10.0.0.1,::1"), "127.0.0.1", "http://127.0.0.1:"),
        (("--forwarded-allow-ips", ""), "127.0.0.1", "http://127.0.0.1:"),
    ],
)
def test_only_trusted_proxies_are_believed(
    tmp_path: Path, options: tuple[str, ...], client_address: str, index: str
) -> None:
    """Both ways through the server log the client, and `/` shows the address, a proxy tells of."""
    logs = ("--log-format", "json", "--small-files", "0")
    folder = _packages(tmp_path)
    with serving(tmp_path, *logs, *options, folder) as server, closing(Client(server)) as client:
        for target in ("/simple/foo/", FILE, "/nothing"):
            for _ in range(3):
                client.ask(target, **FORWARDED)
        assert f"--index-url {index}" in client.ask("/", **FORWARDED)[1]
        client.ask("/simple/foo/")
        server.stop()
        assert _clients(server) == [client_address] * 10 + ["127.0.0.1"]
