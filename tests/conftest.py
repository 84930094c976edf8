"""What all tests share: a clean environment, one event loop, a hostile upstream."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from simple_repository_server.testing.upstream import Upstream

#: Settings of the machine's owner that would reach clients and servers under test.
_FOREIGN = ("SRS_", "PIP_", "UV_", "POETRY_", "PDM_", "TWINE_", "NETRC", "XDG_", "PYTHONPATH",
            "SSL_CERT_", "REQUESTS_CA_", "CURL_CA_")  # fmt: skip


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's settings, caches or credentials reaches a test."""
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
