"""What the start-up message and `/` tell people to copy works, with the clients it is for."""

import http.client
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from simple_repository_server.testing.distributions import build_wheel
from tests.clients.installers import Result, installed, run
from tests.serving import Server, serving

PROJECT = "srs-fixture-library"
WHEEL = build_wheel(PROJECT, "1.0")
NAMES = ["127.0.0.1", "index.example"]
PYPROJECT = f"""[project]
name = "srs-fixture-user"
version = "1"
requires-python = ">={sys.version_info[0]}.{sys.version_info[1]}"
dependencies = ["{PROJECT}"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one wheel, which answers under a name that only it knows."""
    place = tmp_path_factory.mktemp("server")
    (place / WHEEL.filename).write_bytes(WHEEL.content)
    with serving(place, "--allowed-host", "index.example", place) as running:
        yield running


class Copied:
    """What `/` shows to who reached the server as `name`, and how to run it."""

    def __init__(self, server: Server, name: str, folder: Path) -> None:
        own = urlsplit(server.url).netloc
        host = own if name == "127.0.0.1" else name
        with closing(http.client.HTTPConnection(own, timeout=20)) as connection:
            connection.request("GET", "/", headers={"Host": host})
            page = connection.getresponse().read().decode()
        self.blocks = [unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)]
        self._folder = folder
        # Nobody can resolve the name: requests for it go through us, as through a proxy.
        proxy = server.url if name != "127.0.0.1" else ""
        self._variables = {
            **dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), proxy),
            **dict.fromkeys(("no_proxy", "NO_PROXY"), ""),
            "HOME": str(folder),
        }

    def block(self, begin: str) -> str:
        """The one with that beginning."""
        (found,) = [text for text in self.blocks if text.startswith(begin)]
        return found

    def run(self, command: str, **variables: str) -> Result:
        """Run a command as it was copied, by the Python of the tests."""
        return run(self._folder, *shlex.split(command), **{**self._variables, **variables})


@pytest.fixture(params=NAMES)
def copied(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Copied:
    """What is shown on this machine, and to those who reach us by a name over plain http."""
    return Copied(server, request.param, tmp_path)


def test_the_install_commands_work(copied: Copied, tmp_path: Path) -> None:
    """Copied, with the name of a project in the place of PROJECT, pip and uv install it."""
    pip, uv = copied.blocks[0].splitlines()
    for line, option in ((pip, "--no-cache-dir"), (uv, f"--python {sys.executable}")):
        target = f"{option} --target {tmp_path / 'target'}"
        result = copied.run(f"{line.replace('PROJECT', PROJECT)} {target}")
        assert result.status == 0, result.output
        assert installed(tmp_path) == {"srs_fixture_library": "1.0"}
        (tmp_path / "target").rename(tmp_path / line.split()[0])


def test_the_banner_has_the_commands_of_home(server: Server, tmp_path: Path) -> None:
    """The start-up message shows the same two lines."""
    for line in Copied(server, "127.0.0.1", tmp_path).blocks[0].splitlines():
        assert f"\n  {line}\n" in server.banner


def test_the_configuration_of_pip_works(copied: Copied, tmp_path: Path) -> None:
    """As its configuration file it has pip install from here."""
    config = tmp_path / "pip.conf"
    config.write_text(copied.block("[global]"))
    command = f"pip install --no-cache-dir --target {tmp_path / 'target'} {PROJECT}"
    result = copied.run(command, PIP_CONFIG_FILE=str(config))
    assert result.status == 0, result.output
    assert installed(tmp_path) == {"srs_fixture_library": "1.0"}


def test_the_variables_of_uv_work(copied: Copied, tmp_path: Path) -> None:
    """In the environment they have uv install from here."""
    lines = copied.block("export UV_DEFAULT_INDEX").splitlines()
    variables = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    command = f"uv pip install --python {sys.executable} --target {tmp_path / 'target'} {PROJECT}"
    result = copied.run(command, **variables)
    assert result.status == 0, result.output
    assert installed(tmp_path) == {"srs_fixture_library": "1.0"}


def test_the_source_for_poetry_works(copied: Copied, tmp_path: Path) -> None:
    """Added to a project it has poetry find what that needs, here and nowhere else."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    for command in (copied.block("poetry source add"), "poetry lock"):
        result = copied.run(f"{command} --no-interaction")
        assert result.status == 0, result.output
    assert WHEEL.sha256 in (tmp_path / "poetry.lock").read_text()


def test_the_configuration_of_pdm_works(copied: Copied, tmp_path: Path) -> None:
    """It has pdm find what a project needs, here."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    config = tmp_path / "pdm.toml"
    for command in (*copied.block("pdm config pypi.url").splitlines(), "pdm lock"):
        result = copied.run(command, PDM_CONFIG_FILE=str(config), PDM_PYTHON=sys.executable)
        assert result.status == 0, result.output
    assert WHEEL.sha256 in (tmp_path / "pdm.lock").read_text()
