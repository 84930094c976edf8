"""What the conformance matrix runs on, once for all combinations."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from simple_repository_server.testing.upstream import Upstream
from tests.contract.components import Origin, Place, fill_cache


@pytest.fixture(scope="session")
async def origin(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Origin]:
    """What all combinations get their files from."""
    with Upstream() as json_index, Upstream() as html_index:
        origin = Origin(tmp_path_factory.mktemp("origin"), json_index, html_index)
        await fill_cache(origin)
        yield origin


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The origin lives longer than one test."""
    return "asyncio"


@pytest.fixture
def place(origin: Origin, tmp_path: Path) -> Place:
    """The origin, and an empty cache."""
    return Place(origin, tmp_path / "cache")
