"""What unmodified clients show when an index fails is what the documentation says they show."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simple_repository_server import HttpRepository, Limits
from simple_repository_server.testing import Reply, Upstream, build_wheel, publish_json
from simple_repository_server.web.index import IndexApp
from tests.clients.installers import Result, installed, pip_install, run, uv_install
from tests.serving import Server, serving
from tests.web.hostile import Client
from tests.web.lane import get, on_socket

TEXT = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
NAME = "srs-fixture-failing"
WHEEL = build_wheel(NAME)
PAGE = f"/simple/{NAME}/"
FILE = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
BROKEN = "is unavailable: it answers with status 500."


def _table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column has that heading."""
    lines = TEXT.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# --- what the server says ------------------------------------------------------------------------

FAILURES: dict[str, Reply | None] = {
    "nobody listens": None,
    "the connection breaks off": Reply(reset=True),
    "status 500": Reply(status=500),
    "status 429": Reply(status=429, headers={"Retry-After": "30"}),
    "status 401": Reply(status=401),
    "status 403": Reply(status=403),
    "no page of an index": Reply(body=b"welcome", headers={"Content-Type": "text/plain"}),
    "no answer at all": Reply(delay_s=600),
    "status 404": Reply(status=404),
}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("failure", "status", "sentence"),
    [pytest.param(*row, id=row[0]) for row in _table("behind this server")],
)
async def test_the_sentence_is_the_documented_one(
    upstream: Upstream, failure: str, status: str, sentence: str
) -> None:
    """Each failure has the status and the sentence of the table, which is in body and phrase."""
    reply = FAILURES[failure]
    url = upstream.simple if reply else "http://127.0.0.1:9/simple/"
    upstream.on("/simple/demo/", reply or Reply())
    limits = Limits(idle_s=0.5, attempts=1)
    async with (
        HttpRepository(url, limits=limits) as repository,
        on_socket(IndexApp(repository)) as server,
        Client(server.port) as client,
    ):
        await client.send(get("/simple/demo/", "Connection: close"))
        first, _, rest = (await client.read_all()).decode().partition("\r\n")
    expected = sentence.replace("…", url)
    assert rest.endswith(f"\r\n\r\n{expected}\n")
    assert first.startswith(f"HTTP/1.1 {status} ")
    if status != "404":
        assert first == f"HTTP/1.1 {status} {expected}"
        assert "retry-after: 1\r\n" in rest


def test_each_failure_is_documented() -> None:
    """The table has a row for each of them."""
    assert [row[0] for row in _table("behind this server")] == list(FAILURES)


# --- what the clients make of it -----------------------------------------------------------------

Install = Callable[..., Result]


def _poetry_lock(folder: Path, index: str, wanted: str) -> Result:
    (folder / "pyproject.toml").write_text(
        f"""
[project]
name = "srs-fixture-consumer"
version = "0"
requires-python = ">=3.11,<3.15"
dependencies = ["{wanted}"]
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "under-test"
url = "{index}"
priority = "primary"
"""
    )
    return run(folder, "poetry", "lock", "--no-interaction")


CLIENTS: dict[str, Install] = {"pip": pip_install, "uv": uv_install, "poetry": _poetry_lock}
SHOWN = {row[0]: row[1:] for row in _table("client | requests")}


@pytest.fixture
def server(tmp_path: Path, upstream: Upstream) -> Iterator[Server]:
    """The command over an index, through which files come."""
    publish_json(upstream, [WHEEL])
    with serving(tmp_path, "--files", "stream", upstream.simple) as running:
        yield running


def _assert_shown(result: Result, documented: str, upstream: Upstream) -> None:
    expected = documented.strip("`")
    if documented == "the sentence":
        expected = f"The source {upstream.simple} {BROKEN}"
    assert expected in re.sub(r"\s+", " ", result.output)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_failing_page(tmp_path: Path, server: Server, upstream: Upstream, client: str) -> None:
    """The client fails, shows what is documented, and asks no more often than is documented."""
    upstream.on(PAGE, Reply(status=500))
    result = CLIENTS[client](tmp_path, server.simple, NAME)
    assert result.status != 0
    assert installed(tmp_path) == {}
    _assert_shown(result, SHOWN[client][1], upstream)
    assert server.logged(f"503 GET {PAGE}")
    assert server.log.count(f"503 GET {PAGE}") <= int(SHOWN[client][0].split()[0])


@pytest.mark.parametrize("client", ["pip", "uv"])
def test_a_failing_file(tmp_path: Path, server: Server, upstream: Upstream, client: str) -> None:
    """The client fails, and shows what is documented."""
    upstream.on(FILE, Reply(status=500))
    result = CLIENTS[client](tmp_path, server.simple, NAME)
    assert result.status != 0
    assert installed(tmp_path) == {}
    _assert_shown(result, SHOWN[client][2], upstream)


def test_uv_goes_on_to_no_other_index(tmp_path: Path, server: Server, upstream: Upstream) -> None:
    """A project of an index that fails is not taken from a second one, and the reason is shown."""
    upstream.on(PAGE, Reply(status=500))
    with Upstream() as second:
        publish_json(second, [build_wheel(NAME, "99.0")])
        result = uv_install(tmp_path, second.simple, NAME, options=("--index", server.simple))
        assert second.requests == []
    assert result.status != 0
    assert installed(tmp_path) == {}
    assert BROKEN in result.output
