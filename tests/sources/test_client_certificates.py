"""An index that wants a client certificate, from an authority made by the test."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from typing_extensions import override

from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.names import ProjectName
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_html
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.egress import Egress
from simple_repository_server.upstream.limits import Limits
from tests.forward_proxy import TlsFront

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0")
LIMITS = Limits(connect_s=2.0, idle_s=2.0, page_s=5.0, attempts=1)


class Front(TlsFront):
    """A TLS front that notes the certificate of each client."""

    def __init__(self, company: "Company", *, requires: bool) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        company.authority.issue_cert("127.0.0.1").configure_cert(context)
        company.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED if requires else ssl.CERT_OPTIONAL
        super().__init__(company.port, context)
        self.certificates: list[object] = []

    @override
    async def _serve(self, reader, writer) -> None:  # type: ignore[no-untyped-def]
        self.certificates.append(writer.get_extra_info("peercert"))
        await super()._serve(reader, writer)


class Company:
    """An authority, an index behind TLS, and a certificate for its clients."""

    def __init__(self, upstream: Upstream, folder: Path) -> None:
        port = urlsplit(upstream.url).port
        assert port is not None
        self.port = port
        self.authority = trustme.CA()
        client = self.authority.issue_cert("client@company.example")
        self.ca_file, self.both = folder / "ca.pem", folder / "client.pem"
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        client.private_key_and_cert_chain_pem.write_to_path(str(self.both))
        client.cert_chain_pems[0].write_to_path(str(self.cert))
        client.private_key_pem.write_to_path(str(self.key))

    def egress(self, cert: Path | None = None, key: Path | None = None) -> Egress:
        return Egress(authorities=(self.ca_file,), client_cert=cert, client_key=key)


@pytest.fixture
def company(upstream: Upstream, tmp_path: Path) -> Company:
    """An index of one wheel."""
    publish_html(upstream, [WHEEL])
    return Company(upstream, tmp_path)


@pytest.fixture
def front(company: Company) -> Iterator[Front]:
    """The index, for clients with a certificate only."""
    with Front(company, requires=True) as server:
        yield server


@pytest.mark.parametrize("separate", [True, False])
async def test_the_certificate_opens_the_index(
    company: Company, front: Front, separate: bool
) -> None:
    """Page and file arrive, with certificate and key in two files or in one."""
    egress = company.egress(company.cert, company.key) if separate else company.egress(company.both)
    async with HttpRepository(f"{front.url}/simple/", egress=egress, limits=LIMITS) as repository:
        page = await repository.get_project_page(FOO)
        resource = await repository.get_resource(FOO, page.files[0].filename)
        async with resource.open() as body:
            assert b"".join([chunk async for chunk in body.chunks]) == WHEEL.content
        # Clients have no such certificate: they are not redirected there.
        assert resource.location is None
    assert all(front.certificates)


async def test_without_the_certificate_the_index_is_closed(company: Company, front: Front) -> None:
    """The index is unavailable, not empty."""
    repository = HttpRepository(f"{front.url}/simple/", egress=company.egress(), limits=LIMITS)
    async with repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)


async def test_other_origins_never_see_the_certificate(
    company: Company, front: Front, upstream: Upstream
) -> None:
    """A redirect to another server is followed without the certificate, though it is asked for."""
    with Front(company, requires=False) as other:
        upstream.on(
            "/simple/foo/", Reply(status=302, headers={"Location": f"{other.url}/elsewhere/foo/"})
        )
        upstream.on("/elsewhere/foo/", Reply(headers={"Content-Type": "text/html"}, body=b""))
        egress = company.egress(company.both)
        async with HttpRepository(
            f"{front.url}/simple/", egress=egress, limits=LIMITS
        ) as repository:
            assert (await repository.get_project_page(FOO)).files == ()
        assert front.certificates[0]
        assert other.certificates
        assert not any(other.certificates)


def test_a_key_that_cannot_be_used_is_named(company: Company, tmp_path: Path) -> None:
    """Another key, an encrypted one, and a missing file are errors; nothing asks for a password."""
    from cryptography.hazmat.primitives import serialization

    other = tmp_path / "other.pem"
    company.authority.issue_cert("x@company.example").private_key_pem.write_to_path(str(other))
    key = serialization.load_pem_private_key(company.key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    for bad in (other, encrypted, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=str(bad)):
            company.egress(company.cert, bad).tls_context(presents_client_cert=True)
