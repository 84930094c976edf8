"""Live servers over every kind of source, for real clients."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from simple_repository_server.testing.distributions import build_sdist, build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Upstream
from tests.serving import Server, serving

#: No such names exist on any public index.
LIBRARY, APPLICATION = "srs-fixture-library", "srs-fixture-application"

DISTRIBUTIONS = [
    build_wheel(LIBRARY, "1.0"),
    build_wheel(LIBRARY, "1.5+local.1"),
    build_wheel(LIBRARY, "2.0", requires_python=">=4"),
    build_sdist(LIBRARY, "1.0"),
    build_wheel(APPLICATION, "3.0", requires=[f"{LIBRARY}>=1.2"]),
]
KINDS = ["directory", "json", "html", "html-streamed", "html-cached", "directory-and-json"]


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server of the same distributions over each kind of source."""
    place = tmp_path_factory.mktemp("server")
    folder = place / "packages"
    folder.mkdir()
    with Upstream() as upstream:
        arguments: list[str | Path] = []
        if request.param.startswith("directory"):
            shown = DISTRIBUTIONS[:-1] if request.param == "directory-and-json" else DISTRIBUTIONS
            for built in shown:
                (folder / built.filename).write_bytes(built.content)
            arguments.append(folder)
        if request.param in ("json", "directory-and-json"):
            publish_json(upstream, DISTRIBUTIONS)
            arguments.append(upstream.simple)
        if request.param.startswith("html"):
            publish_html(upstream, DISTRIBUTIONS)
            arguments.append(upstream.simple)
        if request.param == "html-streamed":
            arguments.append("--stream-http-resources")
        if request.param == "html-cached":
            arguments += ["--files", "cache"]
        with serving(place, *arguments, HOME=str(place)) as running:
            yield running
