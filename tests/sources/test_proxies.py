"""Indexes behind a forward proxy, and behind certificates of a company's own authority."""

import asyncio
import base64
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import trustme
from typing_extensions import override

from simple_repository_server import HttpRepository, ProjectName
from simple_repository_server.errors import SourceInvalid, SourceTimeout, SourceUnavailable
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_html
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Limits
from simple_repository_server.upstream.egress import Egress, egress_from
from tests.forward_proxy import ForwardProxy, Server, TlsFront
from tests.waiting import until_asked_again

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0")
LIMITS = Limits(
    connect_s=1.0, idle_s=1.0, page_s=5.0, attempts=1, probe_first_s=0.1, probe_longest_s=0.2
)
USER, PASSWORD = "proxy-user", "p@ss:/word"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Company:
    """A network whose only way out is a proxy; `index.example` is known to that alone."""

    def __init__(self, upstream: Upstream, folder: Path) -> None:
        self.upstream = upstream
        self.authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        self.front = TlsFront(_port(upstream.url), self.tls_for("index.example"))
        #: To be filled in by tests; the proxy reads it.
        self.names: dict[str, int] = {}

    def tls_for(self, *hosts: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(*hosts).configure_cert(context)
        return context


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


@pytest.fixture
def company(upstream: Upstream, tmp_path: Path) -> Iterator[Company]:
    """An index of one wheel, with and without TLS, behind a proxy."""
    publish_html(upstream, [WHEEL])
    company = Company(upstream, tmp_path)
    with company.front:
        yield company


@pytest.fixture
def proxy(company: Company) -> Iterator[ForwardProxy]:
    """A proxy that knows `index.example` (https) and `plain.example` (http)."""
    names = {"index.example": company.front.port, "plain.example": _port(company.upstream.url)}
    with ForwardProxy(names) as server:
        yield server


def _egress(company: Company, proxy: str, **environment: str) -> Egress:
    return egress_from(environment, proxy=proxy, ca_file=company.ca_file)


async def _read(url: str, egress: Egress, limits: Limits = LIMITS) -> bytes:
    async with HttpRepository(url, egress=egress, limits=limits) as repository:
        page = await repository.get_project_page(FOO)
        resource = await repository.get_resource(FOO, page.files[0].filename)
        async with resource.open() as body:
            return b"".join([chunk async for chunk in body.chunks])


async def _error(url: str, egress: Egress) -> SourceUnavailable:
    with pytest.raises(SourceUnavailable) as caught:
        await _read(url, egress)
    return caught.value


@pytest.mark.parametrize(
    ("url", "method", "target"),
    [
        ("https://index.example/simple/", "CONNECT", "index.example:443"),
        ("http://plain.example/simple/", "GET", "http://plain.example/simple/foo/"),
    ],
)
async def test_requests_go_through_the_proxy(
    company: Company, proxy: ForwardProxy, url: str, method: str, target: str
) -> None:
    """https uses a tunnel, http an absolute target; the proxy resolves the names."""
    assert await _read(url, _egress(company, proxy.url)) == WHEEL.content
    assert (proxy.requests[0].method, proxy.requests[0].target) == (method, target)
    if method == "CONNECT":
        assert len(proxy.requests) == 1, "a tunnel is used again"


async def test_proxy_over_tls(company: Company) -> None:
    """The connection to the proxy is verified and encrypted, and so is the tunnel inside it."""
    names = {"index.example": company.front.port, "plain.example": _port(company.upstream.url)}
    with ForwardProxy(names, tls=company.tls_for("127.0.0.1")) as proxy:
        egress = _egress(company, proxy.url)
        assert await _read("https://index.example/simple/", egress) == WHEEL.content
        assert await _read("http://plain.example/simple/", egress) == WHEEL.content
        for url in ("https://index.example/simple/", "http://plain.example/simple/"):
            error = await _error(url, egress_from({}, proxy=proxy.url))
            assert error.reason.startswith(f"the TLS certificate of the proxy {proxy.url} was")


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_proxy_credentials_are_sent_to_the_proxy_only(company: Company, scheme: str) -> None:
    """They are decoded, sent to the proxy in its own header, and never forwarded by us."""
    names = {"index.example": company.front.port}
    if scheme == "http":
        names = {"index.example": _port(company.upstream.url)}
    with ForwardProxy(names, credentials=BASIC) as proxy:
        address = proxy.url.replace("//", f"//{USER}:p%40ss%3A%2Fword@")
        egress = _egress(company, address)
        url = f"{scheme}://me:secret@index.example/simple/"
        assert await _read(url, egress) == WHEEL.content
        assert PASSWORD not in repr(egress)
        assert USER not in repr(egress)
        tunnel = proxy.requests[0]
        assert tunnel.headers["proxy-authorization"] == BASIC
        assert ("authorization" in tunnel.headers) == (scheme == "http")
    for request in company.upstream.requests:
        assert "proxy-authorization" not in request.headers
        assert request.headers["authorization"] == "Basic bWU6c2VjcmV0"


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_hosts_of_no_proxy_are_connected_to_directly(company: Company, scheme: str) -> None:
    """Neither the proxy nor its name is needed for them."""
    url = company.upstream.simple
    with TlsFront(_port(url), company.tls_for("127.0.0.1")) as front:
        if scheme == "https":
            url = f"{front.url}/simple/"
        egress = _egress(company, "http://proxy.invalid:1/", no_proxy="127.0.0.0/8")
        assert await _read(url, egress) == WHEEL.content


@pytest.mark.parametrize("url", ["https://index.example/simple/", "http://plain.example/simple/"])
@pytest.mark.parametrize("status", [407, 502, 503])
async def test_error_names_a_proxy_that_refuses(
    company: Company, proxy: ForwardProxy, status: int, url: str
) -> None:
    """The error names the address of the proxy without its credentials."""
    proxy.refuse_with = status
    address = proxy.url.replace("//", "//alice:secret@")
    error = await _error(url, _egress(company, address))
    assert type(error) is SourceUnavailable
    assert f"status {status}" in error.reason
    if status == 407 or url.startswith("https"):
        assert f"the proxy {proxy.url}" in error.reason
    assert "alice" not in error.reason
    assert "secret" not in error.reason


async def test_407_through_a_tunnel_is_the_origins(company: Company, proxy: ForwardProxy) -> None:
    """An index that answers 407 itself is not taken for a proxy that requires authentication."""
    company.upstream.on("/simple/foo/", Reply(status=407))
    error = await _error("https://index.example/simple/", _egress(company, proxy.url))
    assert type(error) is SourceInvalid
    assert error.reason == "status 407"


@pytest.mark.parametrize("url", ["https://index.example/simple/", "http://plain.example/simple/"])
async def test_error_names_a_proxy_that_is_down(
    company: Company, proxy: ForwardProxy, url: str
) -> None:
    """A failed connection to the proxy is told apart from one to the index."""
    proxy.stop()
    error = await _error(url, _egress(company, proxy.url.replace("//", "//a:secret@")))
    assert error.reason == f"no connection to the proxy {proxy.url} (connection refused)"


@pytest.mark.parametrize("url", ["https://index.example/simple/", "http://plain.example/simple/"])
async def test_silent_proxy_times_out(company: Company, proxy: ForwardProxy, url: str) -> None:
    """There is a deadline also while a tunnel is opened."""
    proxy.silent = True
    limits = msgspec.structs.replace(LIMITS, connect_s=0.2, idle_s=0.2)
    with pytest.raises(SourceTimeout):
        await _read(url, _egress(company, proxy.url), limits)


async def test_probes_go_through_the_proxy(company: Company, proxy: ForwardProxy) -> None:
    """An index behind a proxy that failed is probed through that proxy."""
    proxy.refuse_with = 503
    limits = msgspec.structs.replace(LIMITS, failures=1)
    egress = _egress(company, proxy.url)
    async with HttpRepository(
        "https://index.example/simple/", egress=egress, limits=limits
    ) as repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)
        proxy.refuse_with = None
        await until_asked_again(repository)
        assert (await repository.get_project_page(FOO)).files
    assert {request.target for request in proxy.requests} == {"index.example:443"}


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:1/", "http://localhost:1/", "http://[64:ff9b::a9fe:a9fe]/",
     "http://169.254.169.254/", "http://0x7f.1/", "http://metadata.google.internal/"],
)  # fmt: skip
async def test_private_addresses_are_not_requested_from_a_proxy(
    company: Company, proxy: ForwardProxy, target: str
) -> None:
    """Addresses and names known to be private are rejected here, to protect the proxy's network."""
    company.upstream.on("/simple/foo/", Reply(status=302, headers={"Location": target}))
    error = await _error("https://index.example/simple/", _egress(company, proxy.url))
    assert type(error) is SourceInvalid
    assert urlsplit(target).hostname not in error.reason.split()
    assert [request.target for request in proxy.requests] == ["index.example:443"]


# --- certificates --------------------------------------------------------------------------------


async def test_unknown_authority_error_names_the_option(company: Company) -> None:
    """The error says what is wrong with a certificate and which option helps; with it, it works."""
    with TlsFront(_port(company.upstream.url), company.tls_for("127.0.0.1")) as front:
        error = await _error(f"{front.url}/simple/", Egress())
        assert type(error) is SourceUnavailable
        assert "not signed by an authority this machine trusts" in error.reason
        assert "--ca-file" in error.reason
        egress = egress_from({}, ca_file=company.ca_file)
        assert await _read(f"{front.url}/simple/", egress) == WHEEL.content
        egress = egress_from({"REQUESTS_CA_BUNDLE": str(company.ca_file)})
        assert await _read(f"{front.url}/simple/", egress) == WHEEL.content


async def test_certificate_for_another_host_is_rejected(company: Company) -> None:
    """A certificate for another host is rejected, and the error names no host."""
    with TlsFront(_port(company.upstream.url), company.tls_for("other.example")) as front:
        error = await _error(f"{front.url}/simple/", egress_from({}, ca_file=company.ca_file))
    assert "another host name" in error.reason
    assert "other.example" not in error.reason


async def test_http_on_an_https_port_has_its_own_error() -> None:
    """A server without TLS is told apart from one with a bad certificate."""

    class Plain(Server):
        @override
        async def _serve(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad request\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    with Plain() as server:
        error = await _error(f"{server.url}/simple/".replace("http:", "https:"), Egress())
    assert "TLS" in error.reason
    assert "certificate" not in error.reason


def test_authorities_are_added_to_the_systems(company: Company) -> None:
    """A company's certificate does not replace the public ones."""
    system = len(Egress().tls_context().get_ca_certs())
    added = egress_from({}, ca_file=company.ca_file).tls_context().get_ca_certs()
    assert len(added) == system + 1
