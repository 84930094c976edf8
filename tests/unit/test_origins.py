"""The origins of an index: how the probes of their circuits begin and end."""

import asyncio

import pytest

from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.upstream.breaker import Breaker
from simple_repository_server.upstream.origins import Origins

pytestmark = pytest.mark.anyio

BASE = "http://127.0.0.1:1/simple/"


async def test_closing_waits_for_probes_that_an_answer_made_unnecessary() -> None:
    """A probe in flight is cancelled by an answer to a client, and has ended after closing."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def probe(url: str, failed: int) -> int:
        del url, failed
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)  # a connection that is closed
            ended.set()
        return 200

    origins = Origins(
        BASE,
        label="x",
        pristine=Breaker(open_after=1, first_s=0.0),
        probe=probe,
        on_change=lambda _place, _reason: None,
    )
    origins.open()
    origins.failed(BASE, SourceUnavailable("x", "down"), connected=False)
    await begun.wait()
    origins.answered(BASE, 200)
    assert not ended.is_set()
    await origins.close()
    assert ended.is_set()
