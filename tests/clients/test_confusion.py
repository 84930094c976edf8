"""The dependency-confusion drill, with real clients: a private name cannot be hijacked."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.clients.installers import Result, installed, pip_install, uv_install
from tests.serving import serving

Install = Callable[..., Result]
NAME = "srs-fixture-private"
PRIVATE = build_wheel(NAME, "1.0")
STOLEN = build_wheel(NAME, "99.0")


@pytest.mark.parametrize("install", [pip_install, uv_install])
@pytest.mark.parametrize("private", ["directory", "index"])
def test_the_private_package_is_installed(
    tmp_path: Path, upstream: Upstream, install: Install, private: str
) -> None:
    """Private 1.0 first, public 99.0 of the same name second: 1.0 is installed, 99.0 not shown."""
    publish_json(upstream, [STOLEN])
    with Upstream() as company:
        folder = tmp_path / "packages"
        folder.mkdir()
        (folder / PRIVATE.filename).write_bytes(PRIVATE.content)
        publish_html(company, [PRIVATE])
        first = folder if private == "directory" else company.simple
        with serving(tmp_path, first, upstream.simple) as server:
            result = install(tmp_path, server.simple, NAME)
            assert result.status == 0, result.output
            assert installed(tmp_path) == {"srs_fixture_private": "1.0"}
            for wanted in (f"{NAME}==99.0", f"{NAME}>1"):
                assert install(tmp_path, server.simple, wanted).status != 0
    assert upstream.requests == [], "the public index was not even told the name"


FAILURES = {
    "refused": Reply(reset=True),
    "unauthorised": Reply(status=401),
    "forbidden": Reply(status=403),
    "broken": Reply(status=500),
    "nonsense": Reply(body=b"welcome to the guest network", headers={"Content-Type": "text/plain"}),
}


@pytest.mark.parametrize("install", [pip_install, uv_install])
@pytest.mark.parametrize("failure", FAILURES)
def test_when_the_private_index_fails_the_installation_fails(
    tmp_path: Path, upstream: Upstream, install: Install, failure: str
) -> None:
    """Whatever is wrong with the private index, the public package does not take its place."""
    publish_json(upstream, [STOLEN])
    with Upstream() as company:
        company.on(f"/simple/{NAME}/", FAILURES[failure])
        with serving(tmp_path, company.simple, upstream.simple) as server:
            result = install(tmp_path, server.simple, NAME)
    assert result.status != 0
    assert installed(tmp_path) == {}
    assert upstream.requests == []


def test_when_the_private_directory_vanishes_the_installation_fails(
    tmp_path: Path, upstream: Upstream
) -> None:
    """A private directory that is gone (not mounted, say) is not an empty one."""
    publish_json(upstream, [STOLEN])
    folder = tmp_path / "packages"
    folder.mkdir()
    with serving(tmp_path, folder, upstream.simple) as server:
        folder.rmdir()
        time.sleep(1)  # changes are seen within a second
        result = pip_install(tmp_path, server.simple, NAME)
    assert result.status != 0
    assert installed(tmp_path) == {}
