"""A source that is down: its circuit opens, requests fail at once, probes close it again."""

import asyncio
import socket
import statistics
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from simple_repository_server import HttpRepository, ProjectName, create_app
from simple_repository_server.errors import ProjectNotFound, SourceTimeout, SourceUnavailable
from simple_repository_server.observe.events import Event, SourceFailed, SourceRecovered
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream
from simple_repository_server.upstream.client import Limits, UpstreamClient
from tests.asgi import JSON, ask, running
from tests.waiting import until_asked_again

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0")
LIMITS = Limits(
    connect_s=0.3,
    idle_s=0.3,
    page_s=2,
    attempts=3,
    backoff_s=0.001,
    probe_first_s=0.2,
    probe_longest_s=0.4,
)
#: Probes that are never due within a test.
RARELY = msgspec.structs.replace(LIMITS, probe_first_s=60, probe_longest_s=60)
#: What an error may cost that needs no request.
FAST_S = 0.02


@asynccontextmanager
async def _index(url: str, **options: Any) -> AsyncIterator[HttpRepository]:
    options.setdefault("limits", LIMITS)
    async with HttpRepository(url, **options) as repository:
        yield repository


async def _asked(repository: HttpRepository, project: str) -> tuple[SourceUnavailable, float]:
    """The error for a project of a source that is down, and the seconds until it came."""
    began = time.perf_counter()
    with pytest.raises(SourceUnavailable) as caught:
        await repository.get_project_page(ProjectName(project))
    return caught.value, time.perf_counter() - began


#: As many pages as open a circuit.
THREE = ("a", "b", "foo")


async def _break(repository: HttpRepository, projects: Iterable[str] = THREE) -> None:
    """Open the circuit of an index that answers nothing, by a request for each project."""
    for project in projects:
        await _asked(repository, project)


async def _cost_s(repository: HttpRepository, project: str) -> float:
    """The seconds until such an error comes, as a rule: this machine may be busy."""
    return statistics.median([(await _asked(repository, project))[1] for _ in range(9)])


def _redirect(upstream: Upstream, target: str, elsewhere: Upstream) -> None:
    location = f"{elsewhere.url}{target}"
    upstream.on(target, Reply(status=302, headers={"Location": location}))


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of loopback that refuses connections."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


async def test_open_circuit_fails_requests_at_once(closed_port: int) -> None:
    """After one request with its attempts the others fail without one, with a Retry-After."""
    async with _index(f"http://127.0.0.1:{closed_port}/simple/", limits=RARELY) as repository:
        first, _ = await _asked(repository, "a")
        assert first.reason == "no connection (connection refused)"
        assert await _cost_s(repository, "b") < FAST_S
        error, _ = await _asked(repository, "c")
        assert type(error) is SourceUnavailable
        assert "is unavailable; next attempt at" in error.reason
        assert error.reason.endswith(first.reason)
        assert error.retry_after_s is not None
        assert 30 <= error.retry_after_s <= 60
        state = repository.source_states()[0]
        assert state.available is False
        assert "is unavailable; next attempt at" in state.detail


async def test_three_addresses_that_break_off_open_the_circuit(upstream: Upstream) -> None:
    """After three addresses whose connections broke off, no request of a client is sent."""
    upstream.refuse()
    async with _index(upstream.simple, limits=RARELY) as repository:
        await _break(repository)
        upstream.forget()
        for _ in range(5):
            await _asked(repository, "foo")
    assert upstream.requests == []


async def test_probes_close_the_circuit(upstream: Upstream) -> None:
    """Few probes, of base and page in turns, find the source back, which is reported."""
    publish_json(upstream, [WHEEL])
    events: list[Event] = []
    upstream.refuse()
    async with _index(upstream.simple, emit=events.append) as repository:
        await _break(repository)
        upstream.forget()
        began = time.perf_counter()
        while time.perf_counter() - began < 1.0:
            assert await _cost_s(repository, "foo") < FAST_S
            await asyncio.sleep(0.005)
        probes = [request.target for request in upstream.requests]
        # Each twice, at intervals from 0.1, 0.2, 0.2, … to 0.2, 0.4, 0.4, … s.
        assert 4 <= len(probes) <= 12
        assert set(probes) == {"/simple/", "/simple/foo/"}
        upstream.refuse(refusing=False)
        await until_asked_again(repository, within_s=1)
        assert repository.source_states()[0].available is True
        assert [type(event) for event in events] == [SourceFailed, SourceRecovered]
        assert (await repository.get_project_page(FOO)).files
        upstream.forget()
        await asyncio.sleep(0.5)
        assert upstream.requests == [], "a source that is back is probed no more"


async def test_stale_page_is_served_at_once_while_the_circuit_is_open(upstream: Upstream) -> None:
    """It is marked as stale."""
    publish_json(upstream, [WHEEL], max_age=0)
    async with _index(upstream.simple, limits=RARELY) as repository:
        page = await repository.get_project_page(FOO)
        upstream.refuse()
        await _break(repository, "xyz")
        upstream.forget()
        assert await repository.get_project_page(FOO) is page
        assert upstream.requests == []
        assert "is unavailable; next attempt at" in (page.freshness.at(time.time())[2] or "")


async def test_one_failing_page_does_not_open_the_circuit(upstream: Upstream) -> None:
    """However often it fails with 5xx, the others are requested."""
    upstream.on("/simple/broken/", Reply(status=500))
    async with _index(upstream.simple, limits=RARELY) as repository:
        for _ in range(5):
            error, _ = await _asked(repository, "broken")
            assert "status 500" in error.reason
            assert "unavailable; next" not in error.reason
        assert repository.source_states()[0].detail == "it answers with status 500"
        publish_json(upstream, [WHEEL])
        assert (await repository.get_project_page(FOO)).files


async def test_one_page_that_breaks_off_leaves_the_circuit_closed(upstream: Upstream) -> None:
    """However often its connection breaks off, other pages are requested; the error says why."""
    publish_json(upstream, [WHEEL])
    upstream.on("/simple/broken/", Reply(hang_up=True))
    async with _index(upstream.simple, limits=RARELY) as repository:
        for _ in range(4):
            error, _ = await _asked(repository, "broken")
            assert error.reason == "the connection broke off"
        assert (await repository.get_project_page(FOO)).files
        assert upstream.seen("/simple/foo/")


async def test_three_failing_pages_open_the_circuit(upstream: Upstream) -> None:
    """503 for three projects: no requests are sent until a probe gets something better."""
    broken = Reply(status=503)
    for target in ("/simple/", "/simple/a/", "/simple/b/", "/simple/c/"):
        upstream.on(target, broken)
    async with _index(upstream.simple) as repository:
        for project in "abc":
            await _asked(repository, project)
            assert upstream.seen(f"/simple/{project}/")
        upstream.forget()
        error, _ = await _asked(repository, "d")
        assert "is unavailable; next attempt at" in error.reason
        assert not upstream.seen("/simple/d/")
        await asyncio.sleep(0.5)
        assert repository.source_states()[0].available is False
        upstream.on("/simple/", Reply(status=404))
        await until_asked_again(repository)
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(ProjectName("d"))


async def test_429_does_not_open_the_circuit(upstream: Upstream) -> None:
    """A source that throttles does answer."""
    for project in "abcd":
        upstream.on(f"/simple/{project}/", Reply(status=429, headers={"Retry-After": "60"}))
    async with _index(upstream.simple, limits=RARELY) as repository:
        for project in "abcd":
            error, _ = await _asked(repository, project)
            assert "status 429" in error.reason


async def test_timeouts_are_reported_as_timeouts(upstream: Upstream) -> None:
    """A source that hangs costs three waits, then none; clients still get `SourceTimeout`."""

    def hang(request: Request) -> Reply:
        return Reply(delay_s=5)

    for target in ("/simple/", *(f"/simple/p{number}/" for number in range(9))):
        upstream.on(target, hang)
    async with _index(upstream.simple) as repository:
        for number in range(3):
            error, _ = await _asked(repository, f"p{number}")
            assert type(error) is SourceTimeout
        await asyncio.sleep(0.6)  # a probe has hung by now, too
        assert await _cost_s(repository, "p4") < FAST_S
        error, _ = await _asked(repository, "p5")
        assert type(error) is SourceTimeout
        assert not upstream.seen("/simple/p5/")


async def test_probes_find_a_slow_source(upstream: Upstream) -> None:
    """Probes of an index slower than a connection timeout get more patient."""
    publish_json(upstream, [WHEEL])
    upstream.on("/simple/", Reply(delay_s=0.5))
    upstream.on("/simple/slow/", Reply(status=404, delay_s=0.5))
    upstream.refuse()
    limits = msgspec.structs.replace(LIMITS, connect_s=0.1, idle_s=2.0, probe_first_s=0.05)
    async with _index(upstream.simple, limits=limits) as repository:
        await _break(repository, ("a", "b", "slow"))
        upstream.refuse(refusing=False)
        await until_asked_again(repository)
        assert (await repository.get_project_page(FOO)).files


async def test_each_origin_has_its_own_circuit(upstream: Upstream) -> None:
    """A host of files that is down is reported by its name; pages are still requested."""
    events: list[Event] = []
    with Upstream() as elsewhere:
        publish_json(elsewhere, [WHEEL])
        for project in THREE:
            _redirect(upstream, f"/simple/{project}/", elsewhere)
        elsewhere.refuse()
        async with _index(upstream.simple, emit=events.append) as repository:
            await _break(repository)
            assert await _cost_s(repository, "foo") < FAST_S
            error, _ = await _asked(repository, "foo")
            assert "a host it redirects to" in error.reason
            assert elsewhere.url not in error.reason
            with pytest.raises(ProjectNotFound):
                await repository.get_project_page(ProjectName("bar"))
            assert "a host it redirects to" in repository.source_states()[0].detail
            elsewhere.refuse(refusing=False)
            await until_asked_again(repository)
            assert (await repository.get_project_page(FOO)).files
    changes = [event for event in events if isinstance(event, SourceFailed | SourceRecovered)]
    assert [type(e) for e in changes if e.source == elsewhere.url] == [
        SourceFailed,
        SourceRecovered,
    ]


async def test_probes_send_credentials_to_their_origin_only(upstream: Upstream) -> None:
    """A probe of another origin has none."""
    with Upstream() as elsewhere:
        elsewhere.refuse()
        for project in THREE:
            _redirect(upstream, f"/simple/{project}/", elsewhere)
        url = upstream.simple.replace("//", "//me:secret@")
        async with _index(url) as repository:
            await _break(repository)
            upstream.refuse()
            await _break(repository, "xyz")
            upstream.forget()
            elsewhere.forget()
            await asyncio.sleep(0.5)
        assert upstream.requests
        assert all("authorization" in request.headers for request in upstream.requests)
        assert elsewhere.requests
        assert all("authorization" not in request.headers for request in elsewhere.requests)


async def test_transfer_in_flight_survives_an_open_circuit(upstream: Upstream) -> None:
    """It is not cut when its source stops answering others."""
    publish_json(upstream, [WHEEL])
    target = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
    upstream.on(target, Reply(body=WHEEL.content, piece=200, piece_delay_s=0.05))
    async with _index(upstream.simple, limits=RARELY) as repository:
        page = await repository.get_project_page(FOO)
        resource = await repository.get_resource(FOO, page.files[0].filename)
        async with resource.open() as body:
            chunks = aiter(body.chunks)
            received = await anext(chunks)
            upstream.refuse()
            await _break(repository, "abc")
            assert "is unavailable" in (await _asked(repository, "other"))[0].reason
            received += b"".join([chunk async for chunk in chunks])
    assert received == WHEEL.content


async def test_closing_the_source_ends_its_probes(upstream: Upstream) -> None:
    """One that is opened again begins with closed circuits."""
    upstream.refuse()
    repository = HttpRepository(upstream.simple, limits=LIMITS)
    tasks = asyncio.all_tasks()
    async with repository:
        await _break(repository)
    upstream.forget()
    await asyncio.sleep(0.4)
    assert upstream.requests == []
    assert asyncio.all_tasks() == tasks
    publish_json(upstream, [WHEEL])
    upstream.refuse(refusing=False)
    async with repository:
        assert (await repository.get_project_page(FOO)).files


async def test_requests_cut_by_closing_start_no_probe(upstream: Upstream) -> None:
    """They are not failures of the source."""
    upstream.on("/simple/", Reply(delay_s=5))
    client = UpstreamClient(upstream.simple, label="x", limits=Limits(attempts=1))
    tasks = asyncio.all_tasks()

    async def request() -> None:
        async with client.stream("GET", upstream.simple):
            pass

    await client.__aenter__()
    requests = [asyncio.create_task(request()) for _ in range(5)]
    await asyncio.sleep(0.1)
    await client.__aexit__(None, None, None)
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert all(isinstance(result, SourceUnavailable) for result in results)
    assert client.open_circuits == ""
    assert asyncio.all_tasks() == tasks


async def test_clients_get_503_with_retry_after_at_once(upstream: Upstream) -> None:
    """`/readyz` shows when the next attempt is, and that the source is back."""
    upstream.refuse()
    repository = HttpRepository(upstream.simple, limits=LIMITS)
    async with running(create_app(repository)) as app:
        for project in THREE:
            await ask(app, f"/simple/{project}/", headers={"Accept": JSON})
        answer = await ask(app, "/simple/foo/", headers={"Accept": JSON})
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        ready = await ask(app, "/readyz")
        assert ready.status == 503
        assert "is unavailable; next attempt at" in ready.json()["sources"][0]["detail"]
        upstream.refuse(refusing=False)
        await until_asked_again(repository)
        assert (await ask(app, "/readyz")).status == 200
