"""What a request is for: its target, its Host, and the headers of proxies, on both ways through."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from simple_repository_server import (
    LocalRepository,
    ProjectName,
    ProjectPage,
    RepositoryContainer,
    RequestContext,
)
from simple_repository_server.model import NO_CONTEXT
from simple_repository_server.observe.events import Event, RequestFinished
from simple_repository_server.testing import build_wheel
from simple_repository_server.web.hosts import HostRule
from simple_repository_server.web.index import IndexApp
from simple_repository_server.web.server.forwarded import TrustedProxies
from tests.web.lane import ask, get, on_socket, read_answer

pytestmark = pytest.mark.anyio
WHEEL = build_wheel("foo", "1.0")
PAGE = "/simple/foo/"
NO_CACHE = ("Cache-Control: no-cache",)


def _index(tmp_path: Path) -> LocalRepository:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / WHEEL.filename).write_bytes(WHEEL.content)
    return LocalRepository(folder)


def _request(target: str, *lines: str) -> bytes:
    head = [f"GET {target} HTTP/1.1", *lines]
    return "".join(f"{line}\r\n" for line in head).encode() + b"\r\n"


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (PAGE, "localhost", 200),
        (PAGE, "localhost \t", 200),
        (PAGE, "", 200),
        (PAGE, "evil.example", 421),
        (f"http://evil.example{PAGE}", "localhost", 421),
        (f"http://localhost@evil.example{PAGE}", "localhost", 421),
        (f"http://localhost{PAGE}", "evil.example", 200),
        (f"HTTP://user:pass@[::1]:80{PAGE}?x=://", "evil.example", 200),
        (f"{PAGE}?x=http://evil.example/", "localhost", 200),
        ("http://localhost?x=1", "localhost", 200),
        ("http:///simple/", "localhost", 400),
        ("http://[::1/simple/", "localhost", 400),
        (PAGE, "local host", 400),
        (PAGE, "localhost/", 400),
        (PAGE, "user@localhost", 400),
        (PAGE, "localhost:http", 400),
        (PAGE, "b\u00fccher.example", 400),
    ],
)
async def test_the_host_a_request_is_for(
    tmp_path: Path, target: str, host: str, status: int
) -> None:
    """That of a target in absolute form counts (RFC 9112 §3.2.2); an impossible one is 400."""
    async with _index(tmp_path) as repository:
        app = IndexApp(repository, hosts=HostRule(()))
        async with on_socket(app) as server:
            await ask(server.port, _request(PAGE, "Host: localhost"))
            for lines in ((), (), NO_CACHE):  # parsed, remembered, and the ordinary way
                request = _request(target, f"Host: {host}", *lines)
                assert [a.status for a in await ask(server.port, request)] == [status]


class _Listening(RepositoryContainer):
    """Notes the headers of each request for a page."""

    def __init__(self, source: Any) -> None:
        super().__init__(source)
        self.heard: list[set[bytes]] = []

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        self.heard.append(set(context.headers))
        return await super().get_project_page(project, context=context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        self.heard.append(set(context.headers))
        return self.source.peek_project_page(project, context=context)


async def test_headers_of_proxies_reach_the_application_only_from_proxies(tmp_path: Path) -> None:
    """The same bytes from a proxy and from somebody else are two requests, warm as cold."""
    lines = [f"X-Forwarded-{name}: a" for name in ("For", "Proto", "Host", "Prefix")]
    names = {line.partition(":")[0].lower().encode() for line in lines}
    listening = _Listening(_index(tmp_path))
    proxies = TrustedProxies(["127.0.0.2"])
    async with (
        listening,
        on_socket(IndexApp(listening), proxies=proxies) as server,
    ):
        for peer, expected in (("127.0.0.2", names), ("127.0.0.1", set[bytes]())) * 2:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, local_addr=(peer, 0)
            )
            listening.heard.clear()
            for more in ((), (), (), NO_CACHE):
                writer.write(get(PAGE, *lines, *more))
                assert (await read_answer(reader)).status == 200
            writer.close()
            assert len(listening.heard) >= 4
            assert [heard & names for heard in listening.heard] == [expected] * len(listening.heard)
        assert server.fast >= 8


async def test_what_is_told_of_a_request_is_bounded_and_without_its_query(tmp_path: Path) -> None:
    """However it is answered or refused, its line has no query and at most 1,000 characters."""
    told: list[Event] = []
    async with _index(tmp_path) as repository:
        app = IndexApp(repository, emit=told.append)
        async with on_socket(app, emit=told.append) as server:
            for target in (f"{PAGE}?token=secret", f"/simple/{'x' * 200}/?{'s' * 900}",
                           f"/{'x' * 9000}", f"/simple/foo/{'x' * 9000}"):  # fmt: skip
                for request in (get(target), get(target), get(target, *NO_CACHE),
                                _request(target), _request(target, "Host: a b")):  # fmt: skip
                    await ask(server.port, request)
            lines = b"x: y\r\n" * 300
            await ask(server.port, b"GET http://u:secret@a/?secret HTTP/1.1\r\n%b\r\n" % lines)
    paths = [event.path for event in told if isinstance(event, RequestFinished)]
    assert len(paths) == 21
    assert max(map(len, paths)) == 1000
    assert not [path for path in paths if "secret" in path or "ss" in path or "?" in path]
