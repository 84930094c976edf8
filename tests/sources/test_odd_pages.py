"""Pages of an index made to do harm: what is good in them is served, and nothing stops."""

import asyncio
import threading
import time
from typing import Any

import pytest

from simple_repository_server import HttpRepository, MergedRepository, ProjectName
from simple_repository_server.errors import SourceInvalid
from simple_repository_server.observe.events import EntriesDropped, Event
from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import JSON_TYPE
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.web.app import create_app
from tests.asgi import JSON, ask, running

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
PAGE = "/simple/foo/"
GOOD = b'{"filename":"foo-1.0.tar.gz","url":"foo-1.0.tar.gz"}'


def _json(body: bytes) -> Reply:
    return Reply(headers={"Content-Type": JSON_TYPE}, body=body)


def _html(body: bytes) -> Reply:
    return Reply(headers={"Content-Type": "text/html"}, body=body)


async def test_entry_with_a_lone_surrogate_is_dropped(upstream: Upstream) -> None:
    """The other files are served, in either form, and the drop is reported."""
    bad = rb'{"filename":"foo-2.0.tar.gz","url":"x","requires-python":"\ud800"}'
    upstream.on(PAGE, _json(b'{"files":[%b,%b],"versions":["\\udfff","1.0"]}' % (bad, GOOD)))
    events: list[Event] = []
    repository = HttpRepository(upstream.simple, emit=events.append)
    async with running(create_app(repository)) as app:
        page = (await ask(app, PAGE, headers={"Accept": JSON})).json()
        assert (await ask(app, PAGE, headers={"Accept": "text/html"})).text.count("<a ") == 1
    assert [file["filename"] for file in page["files"]] == ["foo-1.0.tar.gz"]
    assert page["versions"] == ["1.0"]
    assert [event.count for event in events if isinstance(event, EntriesDropped)] == [1]


async def test_list_as_a_key_makes_the_page_invalid(upstream: Upstream) -> None:
    """It is a failure of the source (502), for a large page, too."""
    upstream.on(PAGE, _json(b'{[1]:2,"files":[]%b}' % (b" " * 7_000_000)))
    async with running(create_app(HttpRepository(upstream.simple))) as app:
        response = await ask(app, PAGE, headers={"Accept": JSON})
    assert response.status == 502
    assert "not JSON" in response.json()["detail"]


@pytest.mark.parametrize(
    "content_type",
    [
        f"text/html; charset*{'9' * 5000}*=x",
        "text/html; charset=utf-7",
        "text/html; charset*=a''%ff",
    ],
)
async def test_page_with_an_invalid_charset_is_parsed(
    upstream: Upstream, content_type: str
) -> None:
    """A charset unknown to Python counts as UTF-8."""
    body = b"<a href=foo-1.0.tar.gz>+2AA-</a>"
    upstream.on(PAGE, Reply(headers={"Content-Type": content_type}, body=body))
    upstream.on("/simple/", Reply(headers={"Content-Type": content_type}, body=b"<a href=foo>foo"))
    async with HttpRepository(upstream.simple) as repository:
        assert len((await repository.get_project_page(FOO)).files) == 1
        assert (await repository.get_project_list()).names == ("foo",)


async def test_versions_of_thousands_of_digits_are_tolerated(upstream: Upstream) -> None:
    """Sorting versions of several sources does not fail for a number too long for Python."""
    many = b"9" * 5000
    upstream.on(PAGE, _json(b'{"files":[%b],"versions":["%b","1.0"]}' % (GOOD, many)))
    local = MemoryRepository()
    wheel = build_wheel("foo", "2.0")
    local.add(wheel.filename, wheel.content)
    async with running(
        create_app(MergedRepository([local, HttpRepository(upstream.simple)]))
    ) as app:
        page = (await ask(app, PAGE, headers={"Accept": JSON})).json()
    assert page["versions"] == ["1.0", "2.0"]


@pytest.mark.parametrize("form", ["json", "html"])
async def test_pages_over_a_few_kilobytes_are_parsed_in_a_thread(
    upstream: Upstream, form: str
) -> None:
    """A page of 9 kB is not parsed by the thread that serves all clients."""
    if form == "json":
        upstream.on(PAGE, _json(b'{"files":[{},%b],"x":"%b"}' % (GOOD, b"x" * 9_000)))
    else:
        upstream.on(PAGE, _html(b"<a href=ftp://x/foo-1.0.zip>%b</a>" % (b"x" * 9_000)))
    threads: list[int] = []

    def emit(event: Event) -> None:
        if isinstance(event, EntriesDropped):
            threads.append(threading.get_ident())

    async with HttpRepository(upstream.simple, emit=emit) as repository:
        await repository.get_project_page(FOO)
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


_BOMBS: dict[str, Any] = {
    "entries": lambda: _json(b'{"files":[' + b"{}," * 2_200_000 + GOOD + b"]}"),
    "surrogates": lambda: _json(b'{"files":[' + b'{"a":"\\ud800"},' * 200_000 + GOOD + b"]}"),
    "unknown": lambda: _json(b'{"x":[' + b"[]," * 1_000_000 + b'0],"files":[' + GOOD + b"]}"),
    "tags": lambda: _html(b"<b>" * 1_000_000 + b"</b><a href=foo-1.0.tar.gz>"),
    "fonts": lambda: _html(
        b"<p>" + b"".join(b"<font a=%d>" % n for n in range(1500)) + b"</p><p>x" * 1500
        + b"<a href=foo-1.0.tar.gz>"
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", _BOMBS)
async def test_costly_page_does_not_block_other_requests(upstream: Upstream, bomb: str) -> None:
    """While a page made to be costly is parsed others are served, and its good file is found."""
    upstream.on(PAGE, _BOMBS[bomb]())
    async with HttpRepository(upstream.simple) as repository:
        began = last = time.perf_counter()
        longest = 0.0
        reading = asyncio.create_task(repository.get_project_page(FOO))
        while not reading.done():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        page = await reading
    assert [file.filename for file in page.files] == ["foo-1.0.tar.gz"]
    if last - began > 1:  # what is done in no time shows nothing
        assert longest < (last - began) / 2


async def test_unparsable_page_is_a_failure_of_its_source(upstream: Upstream) -> None:
    """An endlessly nested page is rejected as invalid, not as an internal error."""
    upstream.on(PAGE, _json(b'{"files":' + b"[" * 100_000))
    async with HttpRepository(upstream.simple) as repository:
        with pytest.raises(SourceInvalid):
            await repository.get_project_page(FOO)
