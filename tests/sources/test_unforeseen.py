"""Defects while an answer is parsed, or in the background: reported, never lost."""

import asyncio

import pytest

from simple_repository_server.cache.background import Background
from simple_repository_server.cache.documents import CachedDocuments
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.policy import CachePolicy
from simple_repository_server.errors import SourceInvalid
from simple_repository_server.model import NO_CONTEXT, ProjectPage
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Event, InternalFailure
from simple_repository_server.sources.http_cache import IndexCache
from simple_repository_server.sources.http_fetcher import HttpFetcher
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Answer, UpstreamClient
from tests.cache.indexes import QUICK, Clock

pytestmark = pytest.mark.anyio

LARGE = b"x" * 100_000


@pytest.mark.parametrize("bad", [b"bad", LARGE + b"bad"], ids=["here", "in a thread"])
async def test_defect_in_parsing_is_reported_and_stale_page_is_served(
    upstream: Upstream, bad: bytes
) -> None:
    """An answer that cannot be parsed is the source's failure, with a traceback in the log."""
    events: list[Event] = []
    clock = Clock()
    upstream.on("/simple/foo/", [Reply(body=b"good"), Reply(body=bad)])
    upstream.on("/simple/bar/", Reply(body=bad))

    def parse(name: str, answer: Answer) -> ProjectPage:
        if answer.body.endswith(b"bad"):
            raise KeyError(name)
        return ProjectPage(name=ProjectName(name), files=())

    failures: list[str | None] = []
    client = UpstreamClient(upstream.simple, label=upstream.simple, limits=QUICK)
    fetcher = HttpFetcher(
        client,
        url_of=lambda name: f"{upstream.simple}{name}/",
        parse=parse,
        max_bytes=1_000_000,
        clock=clock,
        emit=events.append,
    )
    cache = IndexCache(None, "", secret=b"", forget=lambda _: None, clock=clock, emit=events.append)
    documents = CachedDocuments(
        fetcher,
        policy=CachePolicy(),
        memory=MemoryCache(1_000_000),
        refusals=cache.refusal,
        background=cache.background,
        clock=clock,
        report=failures.append,
    )
    async with asyncio.timeout(10), client:
        try:
            page = await documents.get("foo", NO_CONTEXT)
            assert page is not None
            clock.now += 61
            assert await documents.get("foo", NO_CONTEXT) is page
            assert page.freshness.stale_reason
            with pytest.raises(SourceInvalid, match="its answer cannot be parsed"):
                await documents.get("bar", NO_CONTEXT)
        finally:
            await documents.close()
    assert [bool(reason) for reason in failures] == [False, True, True]
    reported = [event for event in events if isinstance(event, InternalFailure)]
    assert len(reported) == len(events) == 2
    assert all("KeyError" in event.what and "Traceback" in event.detail for event in reported)


async def test_defect_in_the_background_is_reported_with_its_traceback() -> None:
    """A `RepositoryError` is not: it was reported where it was raised."""
    events: list[Event] = []
    background = Background(events.append)

    async def fails(error: Exception) -> None:
        await asyncio.sleep(0)
        raise error

    background.start(fails(SourceInvalid("x", "y")))
    background.start(fails(ZeroDivisionError()))
    await background.close()
    (event,) = events
    assert isinstance(event, InternalFailure)
    assert "ZeroDivisionError" in event.text()
    assert "in fails" in event.detail
