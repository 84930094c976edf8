"""Exceptions nobody thought of, while an answer is read or in the background: told, never lost."""

import asyncio

import pytest

from simple_repository_server.cache.background import Background
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.policy import CachePolicy
from simple_repository_server.errors import SourceInvalid
from simple_repository_server.model import NO_CONTEXT, ProjectPage
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Event, InternalFailure
from simple_repository_server.sources.http_answers import AnswerReader
from simple_repository_server.sources.http_cache import IndexCache
from simple_repository_server.sources.http_documents import CachedDocuments
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Answer, UpstreamClient
from tests.cache.indexes import QUICK, Clock

pytestmark = pytest.mark.anyio

LARGE = b"x" * 100_000


@pytest.mark.parametrize("bad", [b"bad", LARGE + b"bad"], ids=["here", "in a thread"])
async def test_an_answer_that_cannot_be_read_is_an_unusable_one(
    upstream: Upstream, bad: bytes
) -> None:
    """It is the source's failure, with a traceback in the log, and what was seen is served on."""
    events: list[Event] = []
    clock = Clock()
    upstream.on("/simple/foo/", [Reply(body=b"good"), Reply(body=bad)])
    upstream.on("/simple/bar/", Reply(body=bad))

    def read(name: str, answer: Answer) -> ProjectPage:
        if answer.body.endswith(b"bad"):
            raise KeyError(name)
        return ProjectPage(name=ProjectName(name), files=())

    reader = AnswerReader(upstream.simple, read, max_bytes=1_000_000, emit=events.append)
    failures: list[str | None] = []
    async with asyncio.timeout(10):
        client = UpstreamClient(upstream.simple, label=upstream.simple, limits=QUICK)
        cache = IndexCache(
            None, "", secret=b"", forget=lambda _: None, clock=clock, emit=events.append
        )
        documents = CachedDocuments(
            client,
            cache,
            reader,
            url_of=lambda name: f"{upstream.simple}{name}/",
            memory=MemoryCache(1_000_000),
            policy=CachePolicy(),
            clock=clock,
            note=failures.append,
        )
        await client.__aenter__()
        try:
            page = await documents.get("foo", NO_CONTEXT)
            assert page is not None
            clock.now += 61
            assert await documents.get("foo", NO_CONTEXT) is page
            assert page.freshness.stale_reason
            with pytest.raises(SourceInvalid, match="its answer cannot be read"):
                await documents.get("bar", NO_CONTEXT)
        finally:
            await documents.close()
            await client.__aexit__(None, None, None)
    assert [bool(reason) for reason in failures] == [False, True, True]
    told = [event for event in events if isinstance(event, InternalFailure)]
    assert len(told) == len(events) == 2
    assert all("KeyError" in event.what and "Traceback" in event.detail for event in told)


async def test_what_fails_in_the_background_is_told() -> None:
    """With its traceback; what is raised on purpose was told before."""
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
