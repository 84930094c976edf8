"""The list of a public index: large, slow to come, and in nobody's way."""

import asyncio
import gzip
from typing import Any

import pytest
import zstandard

from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
from simple_repository_server.model import ProjectList
from simple_repository_server.names import ProjectName, sorted_unique
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.web.app import create_app
from simple_repository_server.web.render import VARIANTS, Renderer
from simple_repository_server.wire import html, json
from simple_repository_server.wire.negotiation import Coding, Form
from tests.asgi import JSON, ask, running

NAMES = [f"project-{number:x}" for number in range(60_000)]


@pytest.mark.parametrize("form", ["json", "html"])
async def test_a_large_list_is_passed_on(upstream: Upstream, form: str) -> None:
    """A list of many names is sent in every form and coding, with its true size, complete."""
    projects = ProjectList(names=sorted_unique(map(ProjectName, NAMES)))
    writer = json if form == "json" else html
    headers = {"Content-Type": JSON if form == "json" else "text/html"}
    upstream.on("/simple/", Reply(headers=headers, body=writer.write_list(projects)))
    async with running(create_app(HttpRepository(upstream.simple))) as app:
        for accept, own in ((JSON, json), ("text/html", html)):
            expected = own.write_list(projects)
            for coding, decode in (("identity", bytes), ("gzip", gzip.decompress), ("zstd", _zstd)):
                asked = {"Accept": accept, "Accept-Encoding": coding}
                response = await ask(app, "/simple/", headers=asked)
                assert response.headers["content-length"] == str(len(response.body))
                assert decode(response.body) == expected
                asked["If-None-Match"] = response.headers["etag"]
                assert (await ask(app, "/simple/", headers=asked)).status == 304
        head = await ask(app, "/simple/", method="HEAD", headers={"Accept-Encoding": "identity"})
        assert (head.body, int(head.headers["content-length"]) > 10**6) == (b"", True)
    assert len(upstream.requests) == 1


def _local() -> MemoryRepository:
    repository = MemoryRepository()
    mine = build_wheel("mine")
    repository.add(mine.filename, mine.content)
    return repository


def _zstd(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(body)


async def test_last_coding_of_a_large_list_stays_cached() -> None:
    """Where not all codings of a list fit into the memory, the one rendered last does."""
    projects = ProjectList(names=sorted_unique(map(ProjectName, NAMES[:5000])))
    by_coding = {v.coding: v for v in VARIANTS if v.form is Form.JSON}
    unbounded = Renderer("", compressed_from_names=0)
    size = len((await unbounded.render(projects, by_coding[Coding.ZSTD])).body)
    # Small bodies count twice.
    renderer = Renderer("", memory_bytes=2 * size + 2000, compressed_from_names=0)
    for coding in (Coding.ZSTD, Coding.IDENTITY):
        rendered = await renderer.render(projects, by_coding[coding])
        assert renderer.find(projects, by_coding[coding]) is rendered
        assert len(rendered.body) == size


async def test_a_slow_list_is_left_out_until_it_is_there(upstream: Upstream) -> None:
    """The list is answered without waiting for a slow source, says so, and is complete later."""
    publish_json(upstream, [build_wheel("remote")], max_age=600)
    body = b'{"meta":{"api-version":"1.4"},"projects":[{"name":"remote"}]}'
    headers = {"Content-Type": JSON, "Cache-Control": "max-age=600"}
    upstream.on("/simple/", Reply(headers=headers, body=body, delay_s=0.5))
    sources = [_local(), HttpRepository(upstream.simple)]
    both = PrioritySelectedProjectsRepository(sources, list_wait_s=0.1)
    async with running(create_app(both)) as app:
        response = await ask(app, "/simple/", headers={"Accept": JSON})
        assert _names(response) == ["mine"]
        assert upstream.simple in response.headers["warning"]
        assert "max-age=0" in response.headers["cache-control"]
        async with asyncio.timeout(5):
            while _names(response) != ["mine", "remote"]:
                response = await ask(app, "/simple/", headers={"Accept": JSON})
        assert "warning" not in response.headers
    assert len(upstream.seen("/simple/")) == 1


async def test_an_install_never_asks_for_the_list(upstream: Upstream) -> None:
    """Pages, files and metadata are served without the list of any index."""
    wheel = build_wheel("remote")
    publish_json(upstream, [wheel])
    upstream.on("/simple/", Reply(delay_s=60))
    both = PrioritySelectedProjectsRepository([_local(), HttpRepository(upstream.simple)])
    async with running(create_app(both)) as app:
        page = await ask(app, "/simple/remote/", headers={"Accept": JSON})
        assert [file["filename"] for file in page.json()["files"]] == [wheel.filename]
        for name in (wheel.filename, f"{wheel.filename}.metadata"):
            assert (await ask(app, f"/resources/remote/{name}")).status in (200, 302, 404)
        assert (await ask(app, "/simple/absent/")).status == 404
    assert upstream.seen("/simple/") == []


def _names(response: Any) -> list[str]:
    return [project["name"] for project in response.json()["projects"]]
