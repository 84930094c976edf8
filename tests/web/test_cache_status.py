"""What the cache decided: in the log always, in the header `Cache-Status` when that is on."""

import asyncio
import time
from pathlib import Path

import pytest

from simple_repository_server import (
    FileCache,
    FileCacheRepository,
    FilesMode,
    HttpRepository,
    MemoryRepository,
)
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.freshness import Freshness
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Event, RequestFinished
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from simple_repository_server.web.cache_status import cache_status
from simple_repository_server.web.index import IndexApp
from tests.asgi import ask
from tests.web.lane import ask as ask_server
from tests.web.lane import get, on_socket

pytestmark = pytest.mark.anyio

WHEEL = build_wheel("demo", "1.0")
NAME = "simple-repository-server"


@pytest.mark.parametrize(
    ("verdict", "max_age", "age", "value"),
    [
        ("fresh", 600, 100, "; hit; ttl=500; detail=fresh"),
        ("stale-if-error", 600, 720, "; hit; ttl=-120; detail=stale-if-error"),
        ("stale-while-revalidate", 10, 11, "; hit; ttl=-1; detail=stale-while-revalidate"),
        ("offline", 0, None, "; hit; detail=offline"),
        ("revalidated", 60, 0, "; fwd=stale; fwd-status=304; ttl=60; detail=revalidated"),
        ("fetched", 60, 0, "; fwd=miss; fwd-status=200; stored; ttl=60; detail=fetched"),
        ("hit", None, None, "; hit; detail=hit"),
        ("miss", None, None, "; fwd=uri-miss; detail=miss"),
        ("unheard-of", None, None, "; detail=unheard-of"),
        # A list of several indexes: a comma that is not quoted would begin another cache.
        ("fresh, stale-if-error", 60, 70, '; hit; ttl=-10; detail="fresh, stale-if-error"'),
        ("fresh, fetched", 60, 0, '; ttl=60; detail="fresh, fetched"'),
        # A component of someone else may report anything.
        ('a "b" \\ \r\nX: ü', None, None, '; detail="a \\"b\\" \\\\ ??X: ?"'),
    ],
)
def test_cache_status_states_the_verdict_and_what_is_left_of_the_lifetime(
    verdict: str, max_age: int | None, age: int | None, value: str
) -> None:
    """The header follows RFC 9211; its time to live is negative for a stale entry."""
    expected = (b"cache-status", f"{NAME}{value}".encode())
    assert cache_status(verdict, max_age=max_age, age=age) == expected


def test_there_is_no_cache_status_without_a_cache() -> None:
    """A source without a cache has no verdict."""
    assert cache_status("", max_age=0, age=0) is None


async def _freshness(repository: MemoryRepository) -> Freshness:
    """The freshness of the page of `demo`: fetched 100 s ago, and fresh for 600."""
    page = await repository.get_project_page(ProjectName("demo"))
    freshness = page.freshness
    freshness.validated_at, freshness.lifetime_s = time.time() - 100.5, 600
    return freshness


def _repository() -> MemoryRepository:
    repository = MemoryRepository()
    repository.add(WHEEL.filename, WHEEL.content)
    return repository


async def test_debug_header_follows_the_verdict_of_an_unchanged_page() -> None:
    """A page and its 304 state the latest verdict, though the page is the same."""
    repository = _repository()
    freshness = await _freshness(repository)
    app = IndexApp(repository, debug_headers=True)
    for verdict in ("fetched", "fresh", "stale-while-revalidate"):
        freshness.verdict = verdict
        for headers in ({}, {"If-None-Match": "*"}):
            response = await ask(app, "/simple/demo/", headers=headers)
            value = response.headers["cache-status"]
            assert value.startswith(f"{NAME}; ")
            assert value.endswith(f"; detail={verdict}")
            assert "; ttl=" in value


async def test_answers_have_no_debug_header_by_default() -> None:
    """Without the option nothing is added to an answer."""
    repository = _repository()
    freshness = await _freshness(repository)
    freshness.verdict = "fresh"
    response = await ask(IndexApp(repository), "/simple/demo/")
    assert "cache-status" not in response.headers


async def test_verdict_is_in_the_event_of_the_request_both_ways() -> None:
    """The field `cache` of a request is the verdict, with and without a task of its own."""
    events: list[Event] = []
    repository = _repository()
    freshness = await _freshness(repository)
    app = IndexApp(repository, emit=events.append)
    async with on_socket(app) as server:
        for verdict in ("fetched", "stale-if-error", "fresh", ""):
            freshness.verdict = verdict
            events.clear()
            await ask_server(server.port, get("/simple/demo/"))
            await ask_server(server.port, get("/simple/demo/", "Cache-Control: no-cache"))
            seen = [event.cache for event in events if isinstance(event, RequestFinished)]
            assert seen == [verdict, verdict]
        assert server.fast


@pytest.mark.parametrize("mode", [FilesMode.CACHE, FilesMode.REDIRECT])
async def test_files_state_whether_they_were_in_the_cache(
    tmp_path: Path, upstream: Upstream, mode: FilesMode
) -> None:
    """A file is a miss when it is downloaded, and a hit from then on."""
    publish_json(upstream, [WHEEL], max_age=600)
    events: list[Event] = []
    files = FileCache(CacheFolder(tmp_path / "cache"))
    repository = FileCacheRepository(HttpRepository(upstream.simple), files)
    target = f"/resources/demo/{WHEEL.filename}"
    app = IndexApp(repository, files=mode, debug_headers=True, emit=events.append)
    async with repository:
        first = await ask(app, target)
        if mode is FilesMode.REDIRECT:
            assert (first.status, first.body) == (302, b"")
            return
        assert first.body == WHEEL.content
        assert first.headers["cache-status"] == f"{NAME}; fwd=uri-miss; detail=miss"
        second = first
        async with asyncio.timeout(10):  # it is stored after the client has it
            while second.headers["cache-status"] == first.headers["cache-status"]:
                await asyncio.sleep(0.01)  # an answer from memory never lets the loop run
                second = await ask(app, target)
    assert second.headers["cache-status"] == f"{NAME}; hit; detail=hit"
    verdicts = [event.cache for event in events if isinstance(event, RequestFinished)]
    assert (verdicts[0], verdicts[-1]) == ("miss", "hit")


def _line(cache: str) -> str:
    return RequestFinished(
        method="GET",
        path="/simple/demo/",
        status=200,
        bytes=1200,
        duration_ms=0.8,
        client="10.0.0.7",
        user_agent="pip/26.3",
        cache=cache,
    ).text()


def test_text_line_names_an_unusual_verdict_only() -> None:
    """Most pages are fresh and most files are hits: those lines stay as short as they were."""
    plain = "200 GET /simple/demo/ 1.2 kB in 0.8 ms, pip/26.3 at 10.0.0.7"
    assert _line("") == _line("fresh") == _line("hit") == plain
    assert _line("stale-if-error") == f"{plain} [stale-if-error]"


async def test_freshness_headers_follow_each_change_at_once() -> None:
    """A page that goes stale, or is revalidated, says so in its next answer, in the same second."""
    repository = _repository()
    freshness = await _freshness(repository)
    app = IndexApp(repository)
    assert (await ask(app, "/simple/demo/")).headers["age"] in {"100", "101"}
    freshness.stale_reason = "the index is down"
    assert "the index is down" in (await ask(app, "/simple/demo/")).headers["warning"]
    freshness.stale_reason = None
    assert "warning" not in (await ask(app, "/simple/demo/")).headers
    freshness.validated_at += 40  # revalidated meanwhile
    assert int((await ask(app, "/simple/demo/")).headers["age"]) < 100
    freshness.lifetime_s = 60
    response = await ask(app, "/simple/demo/")
    assert response.headers["cache-control"] == "public, max-age=60"
