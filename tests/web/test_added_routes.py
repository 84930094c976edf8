"""Routes and middleware that an application adds to `create_app`."""

import pytest
from fastapi import FastAPI, HTTPException

from simple_repository_server import MemoryRepository, SourceUnavailable, create_app
from tests.asgi import ask


def _app() -> FastAPI:
    app = create_app(MemoryRepository())

    @app.get("/own")
    async def own() -> None:
        raise HTTPException(403, "Only for members.", headers={"X-Plan": "none"})

    @app.get("/elsewhere")
    async def elsewhere() -> None:
        raise SourceUnavailable("the members' index", "no connection")

    return app


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", "application/json"),
        ("text/html", "text/html; charset=utf-8"),
        ("", "text/plain; charset=utf-8"),
    ],
)
async def test_http_exception_of_an_added_route_is_a_problem(
    accept: str, content_type: str
) -> None:
    """It has the status, text and headers of the exception, in the form the client accepts."""
    answer = await ask(_app(), "/own", headers={"Accept": accept})
    assert (answer.status, answer.headers["content-type"]) == (403, content_type)
    assert answer.headers["x-plan"] == "none"
    assert "Only for members." in answer.text


async def test_error_of_a_repository_in_an_added_route_has_its_status() -> None:
    """As if an endpoint of the index had raised it."""
    answer = await ask(_app(), "/elsewhere")
    assert answer.status == 503
    assert "the members' index" in answer.text
