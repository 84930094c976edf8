"""An index below a path: mounted in another application, or behind a proxy that knows of it."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from simple_repository_server import MemoryRepository, build_router, create_app
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.web.index import IndexApp
from tests.asgi import JSON, ask

pytestmark = pytest.mark.anyio

WHEEL = build_wheel("foo", "1.0")
HOST = "http://index.example"


def _repository() -> MemoryRepository:
    repository = MemoryRepository()
    repository.add(WHEEL.filename, WHEEL.content, metadata=WHEEL.metadata)
    return repository


def _behind_proxy(app: Any, root: str, *, strips: bool) -> Any:
    """The application as a server runs it that was told `root` (`--root-path`).

    ASGI has the root in the path; a few servers give the path as it came, without what the proxy
    has stripped.
    """

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix(root) if strips else scope["path"]
        await app({**scope, "root_path": root, "path": path}, receive, send)

    return serve


def _router_app(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.include_router(build_router(_repository()))
    return app


APPLICATIONS: dict[str, Callable[[str], Any]] = {
    "mounted in FastAPI": lambda root: _mounted(FastAPI(), root, create_app(_repository())),
    "mounted in Starlette": lambda root: Starlette(routes=[Mount(root, create_app(_repository()))]),
    "mounted bare": lambda root: _mounted(FastAPI(), root, IndexApp(_repository())),
    "mounted router": lambda root: _mounted(FastAPI(), root, _router_app()),
    "mounted twice": lambda root: _mounted(
        FastAPI(), root, _mounted(FastAPI(), "/inner", create_app(_repository()))
    ),
    "server": lambda root: _behind_proxy(IndexApp(_repository()), root, strips=False),
    "server of FastAPI": lambda root: _behind_proxy(create_app(_repository()), root, strips=False),
    "server of a router": lambda root: _behind_proxy(_router_app(), root, strips=False),
    "proxy strips": lambda root: _behind_proxy(IndexApp(_repository()), root, strips=True),
    "proxy strips before FastAPI": lambda root: _behind_proxy(
        create_app(_repository()), root, strips=True
    ),
    "proxy strips before a router": lambda root: _behind_proxy(_router_app(), root, strips=True),
}


def _mounted(outer: Any, root: str, inner: Any) -> Any:
    outer.mount(root, inner)
    return outer


# Paths of the index begin like `/s`, and `/simple` is one: stripped, that cannot be told apart.
@pytest.mark.parametrize(
    ("kind", "root"),
    [
        (kind, root)
        for kind in APPLICATIONS
        for root in ("/prefix", "/a/b", "/s", "/simple")
        if root != "/simple" or "strips" not in kind
    ],
)
async def test_an_index_below_a_path_is_whole(kind: str, root: str) -> None:
    """Pages, files, metadata and redirects lead to each other, and stay below that path."""
    app = APPLICATIONS[kind](root)
    base = f"{root}/inner" if kind == "mounted twice" else root
    listed = await ask(app, f"{base}/simple/", headers={"Accept": JSON})
    assert listed.json()["projects"] == [{"name": "foo"}]
    redirected = await ask(app, f"{base}/simple/foo?a=b")
    target = urljoin(f"{HOST}{base}/simple/foo", redirected.headers["location"])
    assert (redirected.status, target) == (301, f"{HOST}{base}/simple/foo/?a=b")
    redirected = await ask(app, f"{base}/simple/FOO/")
    target = urljoin(f"{HOST}{base}/simple/FOO/", redirected.headers["location"])
    assert (redirected.status, target) == (301, f"{HOST}{base}/simple/foo/")
    redirected = await ask(app, f"{base}/simple")
    target = urljoin(f"{HOST}{base}/simple", redirected.headers["location"])
    assert (redirected.status, target) == (301, f"{HOST}{base}/simple/")
    page = await ask(app, f"{base}/simple/foo/", headers={"Accept": JSON})
    file = urljoin(f"{HOST}{base}/simple/foo/", page.json()["files"][0]["url"])
    assert file == f"{HOST}{base}/resources/foo/{WHEEL.filename}"
    assert (await ask(app, file.removeprefix(HOST))).body == WHEEL.content
    assert (await ask(app, f"{file.removeprefix(HOST)}.metadata")).body == WHEEL.metadata
    assert (await ask(app, f"{base}/simple/nope/")).status == 404
    assert (await ask(app, f"{base}/simple/foo/", method="POST")).status == 405


@pytest.mark.parametrize("kind", [kind for kind in APPLICATIONS if "router" not in kind])
async def test_its_home_says_where_it_is(kind: str) -> None:
    """The lines to copy have the path the index is at; health is there, too."""
    app = APPLICATIONS[kind]("/prefix")
    base = "/prefix/inner" if kind == "mounted twice" else "/prefix"
    home = await ask(app, f"{base}/", headers={"Host": "index.example"})
    assert f"pip install --index-url {HOST}{base}/simple/ PROJECT" in home.text
    assert (await ask(app, f"{base}/healthz")).json() == {"status": "alive"}
