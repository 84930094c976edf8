"""Several indexes in one server: each at its own address, with its own projects and no others."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from simple_repository_server import MemoryRepository, build_router, create_app
from simple_repository_server.observe.audit_log import AuditLog
from simple_repository_server.testing.distributions import Built, build_wheel
from simple_repository_server.web.index import IndexApp
from simple_repository_server.web.served import RESERVED_NAMES, Served
from tests.asgi import JSON, ask, running
from tests.web.lane import ask as ask_on_socket
from tests.web.lane import get, on_socket

pytestmark = pytest.mark.anyio

PUBLIC, PRIVATE = build_wheel("public"), build_wheel("private")


def _project(wheel: Built) -> str:
    return wheel.filename.partition("-")[0]


def _with(*wheels: Built, label: str = "memory") -> MemoryRepository:
    repository = MemoryRepository(label=label)
    for wheel in wheels:
        repository.add(wheel.filename, wheel.content, metadata=wheel.metadata)
    return repository


def _routed() -> FastAPI:
    app = FastAPI()
    app.include_router(build_router(_with(PUBLIC), indexes={"team": _with(PRIVATE)}))
    return app


APPS = {
    "plain": lambda: IndexApp(_with(PUBLIC), indexes={"team": _with(PRIVATE)}),
    "FastAPI": lambda: create_app(_with(PUBLIC), indexes={"team": _with(PRIVATE)}),
    "router": _routed,
}


@asynccontextmanager
async def _served(kind: str) -> AsyncIterator[Any]:
    async with running(APPS[kind]()) as app:
        yield app


@pytest.mark.parametrize("kind", APPS)
async def test_each_index_has_its_own_projects_and_files(kind: str) -> None:
    """What one index has is at its address, and at no other's."""
    async with _served(kind) as app:
        for root, own, other in (("", PUBLIC, PRIVATE), ("/team", PRIVATE, PUBLIC)):
            accepted = {"accept": JSON}
            found = await ask(app, f"{root}/simple/", headers=accepted)
            assert [one["name"] for one in found.json()["projects"]] == [_project(own)]
            page = await ask(app, f"{root}/simple/{_project(own)}/", headers=accepted)
            assert page.json()["files"][0]["url"].startswith("../../resources/")
            file = await ask(app, f"{root}/resources/{_project(own)}/{own.filename}")
            assert file.body == own.content
            metadata = await ask(app, f"{root}/resources/{_project(own)}/{own.filename}.metadata")
            assert metadata.body == own.metadata
            assert (await ask(app, f"{root}/simple/{_project(other)}/")).status == 404
            hidden = await ask(app, f"{root}/resources/{_project(other)}/{other.filename}")
            assert hidden.status == 404


@pytest.mark.parametrize("kind", APPS)
async def test_missing_slashes_and_spellings_are_redirected_within_the_index(kind: str) -> None:
    """Redirects are relative, so they stay in the index that was requested."""
    async with _served(kind) as app:
        assert (await ask(app, "/team/simple")).headers["location"] == "simple/"
        assert (await ask(app, "/team/simple/Private/")).headers["location"] == "../private/"


async def test_unknown_index_is_named_in_the_answer() -> None:
    """A request for an index that does not exist gets 404 and a sentence with its name."""
    async with _served("plain") as app:
        for path in ("/nobody/simple/", "/nobody/simple/public/", "/nobody/resources/public/x.whl"):
            answer = await ask(app, path)
            assert answer.status == 404
            assert "no index 'nobody'" in answer.text


async def test_root_of_an_index_says_where_the_index_is() -> None:
    """With and without a slash it is not a page, and the answer has the address that is."""
    async with _served("plain") as app:
        for path in ("/team", "/team/"):
            answer = await ask(app, path)
            assert answer.status == 404
            assert "'/team/simple/'" in answer.text


async def test_home_page_lists_the_indexes() -> None:
    """People and programs find every index by its address, relative to the page."""
    async with _served("plain") as app:
        page = await ask(app, "/", headers={"accept": "text/html"})
        assert '<a href="team/simple/">team</a>' in page.text
        facts = await ask(app, "/", headers={"accept": "application/json"})
        assert facts.json()["indexes"] == {"team": "team/simple/"}


async def test_readiness_covers_the_sources_of_all_indexes_once() -> None:
    """A source that two indexes share is listed once."""
    shared = _with(PUBLIC, label="shared")
    app = IndexApp(shared, indexes={"main": shared, "team": _with(PRIVATE, label="private")})
    async with running(app):
        found = (await ask(app, "/readyz")).json()
        assert [one["source"] for one in found["sources"]] == ["shared", "private"]


async def test_default_index_can_have_a_name_too() -> None:
    """The same repository at both addresses gives the same bytes."""
    shared = _with(PUBLIC)
    async with running(IndexApp(shared, indexes={"main": shared})) as app:
        one, other = await ask(app, "/simple/public/"), await ask(app, "/main/simple/public/")
        assert (one.status, one.body, one.headers["etag"]) == (
            200, other.body, other.headers["etag"],
        )  # fmt: skip


async def test_audit_names_the_default_index_at_both_addresses(tmp_path: Path) -> None:
    """A file of the default index is recorded for that index, however it was requested."""
    shared, records = _with(PUBLIC), tmp_path / "audit.jsonl"
    app = IndexApp(shared, indexes={"main": shared}, audit=AuditLog(records))
    async with running(app):
        for root in ("", "/main"):
            await ask(app, f"{root}/resources/public/{PUBLIC.filename}")
    assert [json.loads(line)["index"] for line in records.read_text().splitlines()] == [
        "main",
        "main",
    ]


@pytest.mark.parametrize("name", [*sorted(RESERVED_NAMES), "", "a/b", "{project}", "a?b", "a\n"])
def test_names_with_another_meaning_are_rejected(name: str) -> None:
    """An index whose address would be ambiguous cannot be made, by any of the three ways."""
    with pytest.raises(ValueError, match="index"):
        IndexApp(_with(), indexes={name: _with()})
    with pytest.raises(ValueError, match="index"):
        create_app(_with(), indexes={name: _with()})
    with pytest.raises(ValueError, match="index"):
        build_router(_with(), indexes={name: _with()})


def test_router_with_files_inside_has_no_indexes() -> None:
    """Where files lie inside the prefix, another index would be a project of the first."""
    with pytest.raises(ValueError, match="/pypi/"):
        build_router(_with(), prefix="/pypi/", indexes={"team": _with()})


async def test_replaced_indexes_answer_at_once_and_on_the_same_connection() -> None:
    """After a replacement no answer comes from before, not even to a remembered request."""
    app = IndexApp(_with(PUBLIC), indexes={"team": _with(PRIVATE), "old": _with(PUBLIC)})
    async with running(app), on_socket(app) as server:
        requests = [get(f"/{name}/simple/private/") for name in ("team", "new")]
        requests += [get("/old/simple/public/"), get("/simple/public/")]
        for _ in range(3):  # the second time they are remembered
            answers = [await ask_on_socket(server.port, one) for one in requests]
            assert [one[0].status for one in answers] == [200, 404, 200, 200]
        served = Served(default=_with(PRIVATE), indexes={"new": _with(PRIVATE)})
        await app.replace(served, forget=server.lane.forget)
        for _ in range(3):
            answers = [await ask_on_socket(server.port, one) for one in requests]
            assert [one[0].status for one in answers] == [404, 200, 404, 404]
