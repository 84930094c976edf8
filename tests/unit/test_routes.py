"""Paths to endpoints: one table, read by the plain application and by FastAPI."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match, Route

from simple_repository_server import MemoryRepository, build_router
from simple_repository_server.model import FilesMode
from simple_repository_server.web.endpoint import PathNames
from simple_repository_server.web.routes import AnswerOptions, RouteTable, index_routes

OPTIONS = AnswerOptions(files=FilesMode.REDIRECT, memory_bytes=2**20)
ROUTES = index_routes("/simple/", OPTIONS)
TABLE = RouteTable(ROUTES)


@pytest.mark.parametrize(
    ("path", "template", "names"),
    [
        ("/simple/", "/simple/", PathNames()),
        ("/simple", "/simple", PathNames()),
        ("/simple/a/", "/simple/{project}/", PathNames("a")),
        ("/simple/a", "/simple/{project}", PathNames("a")),
        ("/resources/a/b", "/resources/{project}/{file}", PathNames("a", "b")),
    ],
)
def test_path_has_the_endpoint_of_its_shape(path: str, template: str, names: PathNames) -> None:
    """The endpoint is that of the template, the names are the segments in its braces."""
    (expected,) = [route.endpoint for route in ROUTES if route.template == template]
    assert TABLE.find(path) == (expected, names)


@pytest.mark.parametrize(
    "path",
    ["", "simple/", "/simple//", "/simple/a//", "/simple/a/b", "/simple/a/b/", "/resources/",
     "/resources/a", "/resources/a/", "/resources/a/b/", "/resources//b", "/Simple/"],
)  # fmt: skip
def test_other_paths_have_no_endpoint(path: str) -> None:
    """A segment more or less, an empty one, another case: nothing is there."""
    assert TABLE.find(path) is None


SEGMENTS = st.lists(st.sampled_from(["simple", "resources", "a", "b.whl", ""]), max_size=5)


@given(SEGMENTS)
def test_plain_table_and_fastapi_route_alike(segments: list[str]) -> None:
    """Whatever the path, both have an endpoint for it with the same names, or both have none."""
    path = "/" + "/".join(segments)
    router = build_router(MemoryRepository())
    scope = {"type": "http", "method": "GET", "path": path, "root_path": ""}
    found = None
    for route in router.routes:
        assert isinstance(route, Route)
        match, child = route.matches(scope)
        if match is Match.FULL:
            found = PathNames(**child["path_params"])
            break
    ours = TABLE.find(path)
    assert (None if ours is None else ours[1]) == found


@pytest.mark.parametrize("prefix", ["simple/", "/simple", ""])
def test_prefix_without_slashes_is_rejected(prefix: str) -> None:
    """A prefix that could not be joined to a path is an error of the caller."""
    with pytest.raises(ValueError, match="must begin and end"):
        index_routes(prefix, OPTIONS)
