"""The page for people, and what load balancers ask."""

from typing import Any

import pytest

from simple_repository_server import (
    HttpRepository,
    LocalRepository,
    PrioritySelectedProjectsRepository,
    create_app,
)
from simple_repository_server.testing import Reply, Upstream
from simple_repository_server.upstream.client import Limits
from tests.asgi import ask, running

pytestmark = pytest.mark.anyio
QUICK = Limits(connect_s=0.5, idle_s=0.5, page_s=1.0, attempts=1)


async def test_home_tells_how_to_use_it(upstream: Upstream, tmp_path: Any) -> None:
    """The page has the two lines a user needs, and the sources in their order."""
    url = upstream.simple.replace("//", "//alice:secret@")
    repository = PrioritySelectedProjectsRepository(
        [LocalRepository(tmp_path), HttpRepository(url)]
    )
    async with running(create_app(repository)) as app:
        page = (await ask(app, "/", headers={"Host": "index.example:8000"})).text
        assert "pip install --index-url http://index.example:8000/simple/ PROJECT" in page
        assert "uv pip install --default-index http://index.example:8000/simple/" in page
        assert page.index(str(tmp_path)) < page.index(upstream.simple)
        assert "secret" not in page
        facts = (await ask(app, "/", headers={"Accept": "application/json"})).json()
        assert [source["kind"] for source in facts["sources"]] == ["directory", "remote index"]


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ({"X-Forwarded-Proto": "https"}, "https://index.example/simple/"),
        ({"X-Forwarded-Prefix": "/py/pi/"}, "http://index.example/py/pi/simple/"),
        ({"X-Forwarded-Host": "public.example, inner"}, "http://public.example/simple/"),
        ({"X-Forwarded-Proto": "javascript"}, "http://index.example/simple/"),
        ({"X-Forwarded-Prefix": "//evil.example"}, "http://index.example/simple/"),
        ({"X-Forwarded-Prefix": "/<b>"}, "http://index.example/simple/"),
    ],
)
async def test_home_behind_a_proxy(headers: dict[str, str], url: str) -> None:
    """The lines to copy have the address the proxy has, if it says so."""
    app = create_app(LocalRepository("."))
    page = (await ask(app, "/", headers={"Host": "index.example", **headers})).text
    assert f"pip install --index-url {url} PROJECT" in page


@pytest.mark.parametrize(
    "host", ['"><script>alert(1)</script>', "[", "[x", "x]", "[x]", "[:::]", ":80", "]:[", ""]
)
async def test_a_hostile_host_header_is_not_shown(host: str) -> None:
    """Markup in a Host header does not get into the page, nor does what is no host."""
    app = create_app(LocalRepository("."))
    page = await ask(app, "/", headers={"Host": host})
    assert page.status == 200
    assert "<script>" not in page.text
    assert "--index-url /simple/ PROJECT" in page.text


async def test_what_to_copy_names_the_host_to_trust() -> None:
    """Reached by plain http over a network, each installer is told to trust just that host."""
    app = create_app(LocalRepository("."))
    page = (await ask(app, "/", headers={"Host": "index.example:8000"})).text
    index = "http://index.example:8000/simple/"
    assert f"pip install --index-url {index} PROJECT --trusted-host index.example\n" in page
    assert f"index-url = {index}\ntrusted-host = index.example<" in page
    assert "--allow-insecure-host index.example<" in page
    assert "pdm config pypi.verify_ssl false<" in page
    https = {"Host": "index.example", "X-Forwarded-Proto": "https"}
    for headers in ({"Host": "localhost:8000"}, {"Host": "[::1]:8000"}, https):
        page = (await ask(app, "/", headers=headers)).text
        assert "trusted-host" not in page
        assert "insecure" not in page
        assert "verify_ssl" not in page


async def test_healthz(tmp_path: Any) -> None:
    """Alive means that the process answers, whatever its sources do."""
    response = await ask(create_app(LocalRepository(tmp_path / "gone")), "/healthz")
    assert (response.status, response.json()) == (200, {"status": "alive"})


async def test_readyz(upstream: Upstream, tmp_path: Any) -> None:
    """Ready as long as not all sources are known to be down; each one's state is told."""
    upstream.refuse()
    remote = HttpRepository(upstream.simple, limits=QUICK)
    async with running(create_app(remote)) as app:
        response = await ask(app, "/readyz")
        assert (response.status, response.json()["sources"][0]["state"]) == (200, "not asked yet")
        assert (await ask(app, "/simple/foo/")).status == 503
        response = await ask(app, "/readyz")
        assert (response.status, response.json()["status"]) == (503, "not ready")
        assert "no connection" in response.json()["sources"][0]["detail"] or response.json()
    both = PrioritySelectedProjectsRepository(
        [LocalRepository(tmp_path), HttpRepository(upstream.simple, limits=QUICK)]
    )
    async with running(create_app(both)) as app:
        assert (await ask(app, "/simple/foo/")).status == 503
        response = await ask(app, "/readyz")
        assert response.status == 200
        states = [source["state"] for source in response.json()["sources"]]
        assert states == ["available", "unavailable"]


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_an_index_that_fails_for_one_project_is_ready(
    upstream: Upstream, status: int
) -> None:
    """It answers, so clients are still sent here: else nobody would ever find out more."""
    upstream.on("/simple/foo/", Reply(status=status))
    async with running(create_app(HttpRepository(upstream.simple, limits=QUICK))) as app:
        assert (await ask(app, "/simple/foo/")).status == 503
        response = await ask(app, "/readyz")
        assert (response.status, response.json()["status"]) == (200, "ready")
        (source,) = response.json()["sources"]
        assert source["state"] == "failing"
        assert f"status {status}" in source["detail"]
        assert (await ask(app, "/simple/bar/")).status == 404
        assert (await ask(app, "/readyz")).json()["sources"][0]["state"] == "available"
