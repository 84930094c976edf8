"""A list that is not whole says so: to people, to programs, in the log and on the home page."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any

import msgspec
from typing_extensions import override

from simple_repository_server.combine.lists import DEFAULT_WAIT_S
from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
from simple_repository_server.observe.events import Event, ListComplete, ListIncomplete
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Limits
from simple_repository_server.web.app import create_app
from simple_repository_server.wire import html, json
from tests.asgi import JSON, Response, ask, running

BODY = b'{"meta":{"api-version":"1.4"},"projects":[{"name":"remote"}]}'
WHOLE = Reply(headers={"Content-Type": JSON, "Cache-Control": "max-age=600"}, body=BODY)
QUICK = Limits(connect_s=0.5, idle_s=5, attempts=1, backoff_s=0.01, probe_first_s=0.05)


@asynccontextmanager
async def _index(
    upstream: Upstream, events: list[Event], *, list_wait_s: float = DEFAULT_WAIT_S
) -> AsyncIterator[Any]:
    """A local source and the upstream as one index."""
    local = MemoryRepository()
    mine = build_wheel("mine")
    local.add(mine.filename, mine.content)
    remote = HttpRepository(upstream.simple, limits=QUICK)
    both = PrioritySelectedProjectsRepository(
        [local, remote], list_wait_s=list_wait_s, emit=events.append
    )
    async with running(create_app(both)) as app:
        yield app


async def _json_list(app: Any) -> Response:
    return await ask(app, "/simple/", headers={"Accept": JSON})


async def _once_whole(app: Any) -> Response:
    async with asyncio.timeout(10):
        while True:
            response = await _json_list(app)
            if "_incomplete" not in response.json()["meta"]:
                return response
            await asyncio.sleep(0.02)


async def test_people_and_programs_are_told_what_is_missing(upstream: Upstream) -> None:
    """HTML has a notice that no reader takes for a project, JSON a private key (PEP 700)."""
    upstream.on("/simple/", Reply(status=403))
    async with _index(upstream, []) as app:
        listed = (await _json_list(app)).json()
        page = await ask(app, "/simple/", headers={"Accept": "text/html"})
    [sentence] = listed["meta"]["_incomplete"]
    assert upstream.simple in sentence
    assert listed["meta"]["api-version"] == "1.4"
    assert [project["name"] for project in listed["projects"]] == ["mine"]
    assert json.read_list(msgspec.json.encode(listed)).names == ("mine",)
    seen = _Seen()
    seen.feed(page.text)
    assert "Incomplete" in seen.outside
    assert sentence in seen.outside
    assert seen.links == ["mine/"]
    assert html.read_list(page.body).names == ("mine",)


async def test_no_client_keeps_an_incomplete_list(upstream: Upstream) -> None:
    """It is asked for again each time, and another list by its ETag; a whole one may be kept."""
    upstream.on("/simple/", Reply(status=403))
    async with _index(upstream, []) as app:
        for accept in (JSON, "text/html"):
            response = await ask(app, "/simple/", headers={"Accept": accept})
            assert response.headers["cache-control"] == "max-age=0, must-revalidate"
            assert "incomplete" in response.headers["warning"]
        incomplete = await _json_list(app)
        upstream.on("/simple/", WHOLE)
        whole = await _once_whole(app)
    assert whole.headers["etag"] != incomplete.headers["etag"]
    assert "warning" not in whole.headers


async def test_the_log_says_it_once_and_when_it_is_over(upstream: Upstream) -> None:
    """One event when a list is missing, however often it is asked for, and one when it is there."""
    upstream.on("/simple/", msgspec.structs.replace(WHOLE, delay_s=2))
    events: list[Event] = []
    async with _index(upstream, events, list_wait_s=0.05) as app:
        for _ in range(3):
            assert "_incomplete" in (await _json_list(app)).json()["meta"]
        [event] = events
        assert isinstance(event, ListIncomplete)
        assert upstream.simple in event.text()
        assert "still being fetched" in event.text()
        home = await ask(app, "/")
        assert "list of projects is still being fetched" in home.text
        # Nobody has to ask for the list to find out.
        async with asyncio.timeout(10):
            while len(events) < 2:
                await ask(app, "/healthz")
                await asyncio.sleep(0.01)
        assert isinstance(events[1], ListComplete)
        for _ in range(3):
            await _once_whole(app)
        assert "still being fetched" not in (await ask(app, "/")).text
    assert len(events) == 2


class _Seen(HTMLParser):
    """The addresses of links, and the text outside of them."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str | None] = []
        self.outside = ""
        self._inside = False

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._inside = True
            self.links.append(dict(attrs).get("href"))

    @override
    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "a"

    @override
    def handle_data(self, data: str) -> None:
        self.outside += "" if self._inside else data
