"""The building kit: routers in other people's applications."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import quote, urljoin

import pytest
from fastapi import Depends, FastAPI
from typing_extensions import override

from simple_repository_server import MemoryRepository, Repository, build_router
from simple_repository_server.errors import ProjectNotFound
from simple_repository_server.testing.distributions import build_wheel
from tests.asgi import JSON, ask, running

pytestmark = pytest.mark.anyio


def _with(version: str) -> MemoryRepository:
    repository = MemoryRepository(label=version)
    built = build_wheel("foo", version)
    repository.add(built.filename, built.content, metadata=built.metadata)
    return repository


async def _check(app: Any, simple: str, version: str) -> None:
    """The index at that path has that version, and its file URLs lead to that very file."""
    page = (await ask(app, f"{simple}foo/", headers={"Accept": JSON})).json()
    assert page["versions"] == [version]
    path = f"{simple}foo/"
    for step in page["files"][0]["url"].split("/"):
        path = (
            path.rpartition("/")[0].rpartition("/")[0] + "/" if step == ".." else path + step + "/"
        )
    response = await ask(app, path.rstrip("/"))
    assert (response.status, response.body) == (200, build_wheel("foo", version).content)
    metadata = await ask(app, f"{path.rstrip('/')}.metadata")
    assert metadata.body == build_wheel("foo", version).metadata


@pytest.mark.parametrize("prefix", ["/simple/", "/a/simple/", "/index/", "/", "/a/b/"])
async def test_prefixes(prefix: str) -> None:
    """Under any prefix, pages and files belong together."""
    app = FastAPI()
    app.include_router(build_router(_with("1.0"), prefix=prefix))
    async with running(app):
        await _check(app, prefix, "1.0")
        assert (await ask(app, f"{prefix}foo")).headers["location"] == "foo/"
        assert (await ask(app, f"{prefix}nope/")).status == 404


async def test_two_indexes_do_not_share_files() -> None:
    """Several routers in one application have pages and files of their own."""
    app = FastAPI()
    for name in ("one", "two"):
        version = "1.0" if name == "one" else "2.0"
        app.include_router(build_router(_with(version), prefix=f"/{name}/simple/"))
    async with running(app):
        await _check(app, "/one/simple/", "1.0")
        await _check(app, "/two/simple/", "2.0")
        crossed = await ask(app, f"/one/resources/foo/{build_wheel('foo', '2.0').filename}")
        assert crossed.status == 404


@pytest.mark.parametrize("prefix", ["/at/{version}/simple/", "/at/{version}/"])
async def test_a_path_parameter_chooses_the_repository(prefix: str) -> None:
    """`repository_factory` is a dependency with path parameters, for pages and files alike."""
    repositories = {version: _with(version) for version in ("1.0", "2.0")}

    def choose(version: str) -> Repository:
        if version not in repositories:
            raise ProjectNotFound(version)
        return repositories[version]

    app = FastAPI()
    app.include_router(build_router(prefix=prefix, repository_factory=choose))
    async with running(app):
        for version in repositories:
            await _check(app, prefix.format(version=version), version)
        assert (await ask(app, prefix.format(version="1.0"), method="POST")).status == 405


async def test_dependencies_of_the_factory_work() -> None:
    """The factory may depend on whatever FastAPI can provide."""

    def wanted(q: str = "1.0") -> str:
        return q

    def choose(version: Annotated[str, Depends(wanted)]) -> Repository:
        return _with(version)

    app = FastAPI()
    app.include_router(build_router(repository_factory=choose))
    page = (await ask(app, "/simple/foo/?q=3.0", headers={"Accept": JSON})).json()
    assert page["versions"] == ["3.0"]


async def test_the_repository_lives_as_long_as_the_application() -> None:
    """It is opened when the application starts and closed when it stops."""

    class Watched(MemoryRepository):
        state = "new"

        @override
        @asynccontextmanager
        async def lifespan(self) -> AsyncIterator[None]:
            self.state = "open"
            yield
            self.state = "closed"

    repository = Watched()
    app = FastAPI()
    app.include_router(build_router(repository))
    async with running(app):
        assert repository.state == "open"
    assert repository.state == "closed"


@pytest.mark.parametrize("prefix", ["simple/", "/simple", ""])
def test_bad_prefixes_are_refused(prefix: str) -> None:
    """A prefix must begin and end with a slash."""
    with pytest.raises(ValueError, match="begin and end"):
        build_router(MemoryRepository(), prefix=prefix)


def test_a_router_needs_something_to_serve() -> None:
    """Neither repository nor factory is a mistake that shows at once."""
    with pytest.raises(ValueError, match="needs"):
        build_router()


async def test_the_applications_own_routes_come_first() -> None:
    """What an embedding application adds is reachable, its middleware not passed by."""
    from simple_repository_server import create_app

    app = create_app(_with("1.0"))

    @app.get("/mine")
    async def mine() -> dict[str, str]:
        return {"mine": "yes"}

    assert (await ask(app, "/mine")).json() == {"mine": "yes"}


@pytest.mark.parametrize("text", ["https:evil.example", "1\r\nSet-Cookie: a=b", "日本", "a b"])
async def test_a_parameter_stays_a_path_in_redirects(text: str) -> None:
    """The list's address without its slash leads to the list, whatever the parameter holds."""
    app = FastAPI()
    router = build_router(prefix="/at/{version}/", repository_factory=lambda: _with("1.0"))
    app.include_router(router)
    async with running(app):
        response = await ask(app, f"/at/{text}")
        assert response.status == 301
        target = urljoin("http://index.example/at/x", response.headers["location"])
        assert target == f"http://index.example/at/{quote(text, safe='')}/"
