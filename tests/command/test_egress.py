"""The command behind a forward proxy, with a company's certificates, and with slow clients."""

import base64
import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import trustme

from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Upstream
from tests.forward_proxy import ForwardProxy, TlsFront
from tests.serving import Server, serving

WHEEL = build_wheel("foo", "1.0")
FILE = f"resources/foo/{WHEEL.filename}"
PASSWORD = "s3cret/pass"
BASIC = "Basic " + base64.b64encode(f"proxy-user:{PASSWORD}".encode()).decode()
SOURCE = "https://index.example/simple/"


def _get(server: Server, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    with closing(connection):
        connection.request("GET", f"/{path}")
        with connection.getresponse() as response:
            return response.status, response.read()


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simple_repository_server", "--port", "0", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


class Company(msgspec.Struct):
    """A proxy that wants credentials, an index only it knows, and the authority of both."""

    proxy: ForwardProxy
    upstream: Upstream
    ca_file: Path

    @property
    def address(self) -> str:
        """The address of the proxy with its credentials."""
        return self.proxy.url.replace("//", "//proxy-user:s3cret%2Fpass@")


@pytest.fixture
def company(upstream: Upstream, tmp_path: Path) -> Iterator[Company]:
    """A network whose only way out is a proxy."""
    publish_html(upstream, [WHEEL])
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("index.example").configure_cert(context)
    ca_file = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    port = urlsplit(upstream.url).port
    assert port is not None
    with (
        TlsFront(port, context) as front,
        ForwardProxy(
            {"index.example": front.port, "plain.example": port}, credentials=BASIC
        ) as proxy,
    ):
        yield Company(proxy, upstream, ca_file)


def _shows_nothing(server: Server) -> None:
    """Neither the address, nor the log, nor `/` has the credentials of the proxy."""
    shown = server.banner + server.log + _get(server, "")[1].decode()
    assert "s3cret" not in shown
    assert "proxy-user" not in shown


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("trust", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "--ca-file"])
def test_proxy_from_the_environment_is_used(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, trust: str
) -> None:
    """Pages and files are fetched through a tunnel, trusting the company's authority."""
    monkeypatch.setenv(name, company.address)
    options: list[str | Path] = ["--files", "stream", SOURCE]
    if trust.startswith("--"):
        options = [trust, company.ca_file, *options]
    else:
        monkeypatch.setenv(trust, str(company.ca_file))
    with serving(tmp_path, *options) as server:
        assert _get(server, "simple/foo/")[0] == 200
        assert _get(server, FILE) == (200, WHEEL.content)
        _shows_nothing(server)
    assert {request.target for request in company.proxy.requests} == {"index.example:443"}
    assert all("proxy-authorization" not in r.headers for r in company.upstream.requests)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_proxy_option_takes_precedence_over_the_environment(
    company: Company, tmp_path: Path, workers: str
) -> None:
    """`--proxy` replaces the environment; http requests are sent in absolute form."""
    options = ["--proxy", company.address, "--workers", workers, "http://plain.example/simple/"]
    with serving(tmp_path, *options, HTTP_PROXY="http://127.0.0.1:1/") as server:
        assert _get(server, "simple/foo/")[0] == 200
        _shows_nothing(server)
    assert company.proxy.requests[0].target == "http://plain.example/simple/foo/"


def test_no_proxy_hosts_are_reached_directly(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts in `NO_PROXY`, and all hosts with `--proxy none`, are reached directly."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1/")
    with serving(tmp_path, company.upstream.simple, NO_PROXY="127.0.0.0/8") as server:
        assert _get(server, "simple/foo/")[0] == 200
    with serving(tmp_path, "--proxy", "none", company.upstream.simple) as server:
        assert _get(server, "simple/foo/")[0] == 200


@pytest.mark.parametrize(
    ("status", "source", "says"),
    [
        (407, SOURCE, "requires authentication"),
        (407, "http://plain.example/simple/", "requires authentication"),
        (502, SOURCE, "did not connect"),
        (503, SOURCE, "did not connect"),
        (None, SOURCE, "no connection to the proxy"),
        (None, "http://plain.example/simple/", "no connection to the proxy"),
    ],
)
def test_failing_proxy_is_named_without_its_credentials(
    company: Company, tmp_path: Path, status: int | None, source: str, says: str
) -> None:
    """Clients get 503 and a sentence with the proxy's address, never its credentials."""
    if status is None:
        company.proxy.stop()
    company.proxy.refuse_with = status
    with serving(tmp_path, "--no-cache", "--proxy", company.address, source) as server:
        got, body = _get(server, "simple/foo/")
        assert got == 503
        assert says in body.decode()
        assert company.proxy.url in body.decode()
        assert server.logged(says)
        _shows_nothing(server)


def test_unknown_authority_is_reported_to_clients(company: Company, tmp_path: Path) -> None:
    """The sentence has the defect and the option that fixes it."""
    with serving(tmp_path, "--no-cache", "--proxy", company.address, SOURCE) as server:
        status, body = _get(server, "simple/foo/")
    assert status == 503
    assert b"--ca-file" in body


@pytest.mark.parametrize(
    ("options", "environment", "says"),
    [
        ([], {"HTTPS_PROXY": "socks5h://u:s3cret@proxy.example:1080"}, "HTTPS_PROXY is a SOCKS"),
        (["--proxy", "socks4://u:s3cret@proxy.example"], {}, "--proxy is a SOCKS"),
        (["--proxy", "http://u:s3c/ret@proxy.example"], {}, "--proxy is not the address"),
        ([], {"all_proxy": "http://u:s3cret@pro xy/"}, "all_proxy is not the address"),
        (["--ca-file", "no/such.pem"], {}, "--ca-file no/such.pem cannot be read: no such file"),
        (["--ca-file", "pyproject.toml"], {}, "--ca-file pyproject.toml has no certificate"),
        ([], {"SSL_CERT_FILE": "no/such.pem"}, "SSL_CERT_FILE no/such.pem cannot be read"),
        ([], {"REQUESTS_CA_BUNDLE": "pyproject.toml"}, "REQUESTS_CA_BUNDLE pyproject.toml has no"),
        ([], {"SSL_CERT_DIR": "/no/such"}, "SSL_CERT_DIR /no/such: no such directory"),
    ],
)
def test_invalid_proxy_or_ca_file_is_rejected(
    options: list[str], environment: dict[str, str], says: str
) -> None:
    """One line on stderr, without credentials, and status 2."""
    result = _run(*options, "https://index.example/simple/", **environment)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
    assert "s3c" not in result.stderr
    assert "proxy.example" not in result.stderr


def test_proxy_environment_is_ignored_without_indexes(tmp_path: Path) -> None:
    """A server of directories starts although the proxy and certificates are invalid."""
    folder = tmp_path / "packages"
    folder.mkdir()
    with serving(tmp_path, folder, HTTPS_PROXY="socks5://x", SSL_CERT_FILE="no/such.pem") as server:
        assert _get(server, "healthz")[0] == 200


def test_netrc_is_used_for_sources_only(company: Company, tmp_path: Path) -> None:
    """The HTTP library itself reads no netrc, neither for proxies nor for other hosts."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password netrc-secret\n")
    netrc.chmod(0o600)
    options = ["--proxy", company.address, "http://plain.example/simple/"]
    with serving(tmp_path, *options, NETRC=str(netrc)) as server:
        assert _get(server, "simple/foo/")[0] == 200
    assert {request.headers["proxy-authorization"] for request in company.proxy.requests} == {BASIC}
    assert all("authorization" not in request.headers for request in company.upstream.requests)


def test_hundred_slow_downloads_do_not_block_pages(upstream: Upstream, tmp_path: Path) -> None:
    """With all connections for files in use, pages are served and another file gets 503."""
    large = msgspec.structs.replace(build_wheel("large", "1.0"), content=os.urandom(24_000_000))
    publish_json(upstream, [WHEEL, large], metadata=False)
    path = f"resources/large/{large.filename}"
    with (
        serving(tmp_path, "--no-cache", "--files", "stream", upstream.simple) as server,
        contextlib.ExitStack() as slow,
    ):
        host = urlsplit(server.url)
        for _ in range(100):
            client = slow.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((host.hostname, host.port))
            client.sendall(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert client.recv(12) == b"HTTP/1.1 200"
        assert _get(server, "simple/foo/")[0] == 200
        assert _get(server, FILE) == (200, WHEEL.content)
        status, body = _get(server, path)
        assert status == 503
        assert b"all 100 connections to it for files are in use" in body
        assert _get(server, "readyz")[0] == 200, "that is no fault of the source"
