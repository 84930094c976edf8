"""Fixtures of all tests: a clean environment, one event loop, a scriptable upstream."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from simple_repository_server.testing.upstream import Upstream

#: Variables of the user's environment that would change clients and servers under test.
_FOREIGN = ("SRS_", "PIP_", "UV_", "POETRY_", "PDM_", "TWINE_", "NETRC", "XDG_", "PYTHONPATH",
            "SSL_CERT_", "REQUESTS_CA_", "CURL_CA_")  # fmt: skip


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings, caches or credentials of the user reach a test."""
    for name in os.environ:
        if name.startswith(_FOREIGN) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))


@pytest.fixture
def anyio_backend() -> str:
    """Coroutines run on asyncio."""
    return "asyncio"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A scriptable upstream on loopback."""
    with Upstream() as server:
        yield server
