"""A session of the embedder's own sends the requests of an index; what is guarded stays guarded."""

import gzip
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from typing_extensions import override

from simple_repository_server.errors import ProjectNotFound, SourceUnavailable
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.guard import GuardedResolver
from simple_repository_server.upstream.private_addresses import PrivateAddress
from tests.cache.indexes import QUICK

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0")
NAME = FileName(WHEEL.filename)
PAGE = "/simple/foo/"


@asynccontextmanager
async def counting_session(
    **options: Any,
) -> AsyncIterator[tuple[aiohttp.ClientSession, list[str]]]:
    """A session with a header of its own, and the addresses it sent requests to."""
    sent: list[str] = []

    async def on_start(_: Any, __: Any, params: aiohttp.TraceRequestStartParams) -> None:
        sent.append(str(params.url))

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(on_start)
    headers = {"X-Build-Farm": "7"}
    async with aiohttp.ClientSession(headers=headers, trace_configs=[trace], **options) as session:
        yield session, sent


async def read(repository: HttpRepository) -> bytes:
    """The wheel, through the repository."""
    resource = await repository.get_resource(FOO, NAME)
    async with resource.open() as body:
        return b"".join([chunk async for chunk in body.chunks])


async def test_index_is_served_through_the_given_session(upstream: Upstream) -> None:
    """Pages and files pass its tracing and carry its headers; it stays open for its owner."""
    publish_json(upstream, [WHEEL])
    async with counting_session() as (session, sent):
        for _ in range(2):
            async with HttpRepository(upstream.simple, limits=QUICK, client=session) as repository:
                assert await read(repository) == WHEEL.content
        assert not session.closed
    assert len(sent) == len(upstream.requests) == 4
    assert all(request.headers["x-build-farm"] == "7" for request in upstream.requests)


async def test_defaults_of_the_given_session_do_not_disturb(upstream: Upstream) -> None:
    """Compressed pages, statuses and redirects are read as with our own sessions."""
    body = b'<a href="foo-1.0-py3-none-any.whl">foo</a>'
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    upstream.on("/moved/", Reply(headers=headers, body=gzip.compress(body)))
    upstream.on(PAGE, Reply(status=302, headers={"Location": "/moved/"}))
    options: dict[str, Any] = {"raise_for_status": True, "auto_decompress": True}
    async with (
        counting_session(**options) as (session, _),
        HttpRepository(upstream.simple, limits=QUICK, client=session) as repository,
    ):
        page = await repository.get_project_page(FOO)
        assert page.find(NAME) is not None
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(ProjectName("bar"))


async def test_slow_index_times_out_by_our_limits(upstream: Upstream) -> None:
    """However patient the session is."""
    upstream.on(PAGE, Reply(delay_s=30))
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        counting_session(timeout=timeout) as (session, _),
        HttpRepository(upstream.simple, limits=QUICK, client=session) as repository,
    ):
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)


async def test_credentials_stay_at_their_origin_with_a_given_session(upstream: Upstream) -> None:
    """Those of the index go to its own origin, not to the host of its files."""
    with Upstream() as elsewhere:
        elsewhere.on(f"/{NAME}", Reply(body=WHEEL.content))
        anchor = f'<a href="{elsewhere.url}/{NAME}#sha256={WHEEL.sha256}">foo</a>'
        upstream.on(PAGE, Reply(headers={"Content-Type": "text/html"}, body=anchor.encode()))
        url = upstream.simple.replace("//", "//me:secret@")
        async with (
            counting_session() as (session, _),
            HttpRepository(url, limits=QUICK, client=session) as repository,
        ):
            assert await read(repository) == WHEEL.content
        assert "authorization" in upstream.requests[0].headers
        assert len(elsewhere.requests) == 1
        assert "authorization" not in elsewhere.requests[0].headers


async def test_given_session_is_not_sent_to_forbidden_addresses(upstream: Upstream) -> None:
    """A redirect to the metadata service of a cloud is refused before the session sees it."""
    upstream.on(PAGE, Reply(status=302, headers={"Location": "http://169.254.169.254/latest/"}))
    async with (
        counting_session() as (session, sent),
        HttpRepository(upstream.simple, limits=QUICK, client=session) as repository,
    ):
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)
    assert sent == [f"{upstream.simple}foo/"]


ADDRESSES: Mapping[str, list[str]] = {
    "public.example": ["93.184.216.34"],
    "private.example": ["10.0.0.5"],
    "mixed.example": ["10.0.0.6", "93.184.216.36"],
}


class Names(AbstractResolver):
    """Resolves from a table."""

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[Any]:
        if host not in ADDRESSES:
            raise socket.gaierror("no such name")
        return [{"hostname": host, "host": one, "port": port} for one in ADDRESSES[host]]

    @override
    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("own", "host", "allowed"),
    [
        ("public.example", "public.example", True),
        ("public.example", "private.example", False),
        ("public.example", "mixed.example", False),
        ("private.example", "private.example", True),
        ("10.0.0.9", "private.example", True),
        ("public.example", "unknown.example", True),
        ("public.example", "localhost", False),
        ("unknown.example", "private.example", False),
    ],
)
async def test_names_are_checked_before_a_given_session_resolves_them(
    own: str, host: str, allowed: bool
) -> None:
    """All addresses must be allowed; a name that cannot be resolved is checked as a name."""
    guard = GuardedResolver(own, inner=Names())
    if allowed:
        await guard.check_name(host)
    else:
        with pytest.raises(PrivateAddress):
            await guard.check_name(host)
