"""Unmodified clients with empty caches, while the index behind the server is gone."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Upstream
from tests.clients.conftest import APPLICATION, DISTRIBUTIONS
from tests.clients.installers import Result, installed, pip_install, uv_install
from tests.serving import serving

Install = Callable[..., Result]
BOTH = {"srs_fixture_application": "3.0", "srs_fixture_library": "1.5+local.1"}


@pytest.mark.parametrize("publish", [publish_json, publish_html])
@pytest.mark.parametrize("install", [pip_install, uv_install])
def test_what_was_seen_installs_on(
    upstream: Upstream, tmp_path: Path, install: Install, publish: Callable[..., None]
) -> None:
    """With the index gone, the server restarted and the clients' caches empty, all installs."""
    publish(upstream, DISTRIBUTIONS)
    before, after, offline = (tmp_path / name for name in ("before", "after", "offline"))
    for folder in (before, after, offline):
        folder.mkdir()
    arguments = ("--files", "cache", upstream.simple)
    with serving(tmp_path, *arguments) as server:
        result = install(before, server.simple, APPLICATION)
        assert result.status == 0, result.output
    upstream.refuse()
    with serving(tmp_path, *arguments) as server:
        result = install(after, server.simple, APPLICATION)
        assert result.status == 0, result.output
        assert installed(after) == BOTH
        begun = time.monotonic()
        result = install(after, server.simple, "srs-fixture-nowhere")
        assert result.status != 0
        assert server.logged("503 GET /simple/srs-fixture-nowhere/")
        assert time.monotonic() - begun < 30
    upstream.forget()
    with serving(tmp_path, "--offline", *arguments) as server:
        result = install(offline, server.simple, APPLICATION)
        assert result.status == 0, result.output
        assert installed(offline) == BOTH
    assert not upstream.requests
