"""Unmodified installers show their user why a file is hidden from them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.web.index import IndexApp
from tests.clients.installers import Result, pip_install, uv_install
from tests.hiding import REASON, Hiding
from tests.web.lane import on_socket

pytestmark = pytest.mark.anyio
NAME = "srs-fixture-hidden"
WHEEL = build_wheel(NAME)


@pytest.mark.parametrize("install", [pip_install, uv_install], ids=["pip", "uv"])
async def test_installers_show_the_sentence(tmp_path: Path, install: Callable[..., Result]) -> None:
    """A lock file's direct request for a hidden file ends with the rule's sentence."""
    source = MemoryRepository()
    source.add(WHEEL.filename, WHEEL.content)
    async with on_socket(IndexApp(Hiding(source, WHEEL.filename))) as server:
        base = f"http://127.0.0.1:{server.port}"
        url = f"{NAME} @ {base}/resources/{NAME}/{WHEEL.filename}"
        result = await asyncio.to_thread(install, tmp_path, f"{base}/simple/", url)
    assert result.status != 0
    assert REASON in " ".join(result.output.split())
