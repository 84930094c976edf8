"""Metadata of local files, with real installers: from files beside them, and where none is."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simple_repository_server.testing.distributions import build_wheel, core_metadata
from tests.clients.installers import Result, installed, pip_install, run, uv_install
from tests.serving import Server, serving

Install = Callable[..., Result]
NAME, NEEDED = "srs-fixture-application", "srs-fixture-library"
WHEEL = build_wheel(NAME, "1.0", requires=[NEEDED])
LIBRARY = build_wheel(NEEDED, "1.0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with an application and what it needs."""
    path = tmp_path / "packages"
    path.mkdir()
    for built in (WHEEL, LIBRARY):
        (path / built.filename).write_bytes(built.content)
    return path


@pytest.fixture
def server(tmp_path: Path, folder: Path) -> Iterator[Server]:
    """The directory, served."""
    with serving(tmp_path, folder) as running:
        yield running


@pytest.mark.parametrize("install", [pip_install, uv_install])
def test_a_metadata_file_is_what_is_installed_by(
    tmp_path: Path, folder: Path, server: Server, install: Install
) -> None:
    """The installer fetches it, finds it right, and installs what it requires."""
    (folder / f"{WHEEL.filename}.metadata").write_bytes(WHEEL.metadata + b"\nMore of it.\n")
    time.sleep(1)  # changes are seen within a second
    result = install(tmp_path, server.simple, NAME)
    assert result.status == 0, result.output
    assert installed(tmp_path) == {NAME.replace("-", "_"): "1.0", NEEDED.replace("-", "_"): "1.0"}
    assert server.logged(f"200 GET /resources/{NAME}/{WHEEL.filename}.metadata")


def test_pip_refuses_a_wheel_that_differs_from_its_metadata_file(
    tmp_path: Path, folder: Path, server: Server
) -> None:
    """As the warning in the log says it may."""
    other = core_metadata(NAME, "1.0", requires=[f"{NEEDED}>=0.5"], requires_python=">=3.8")
    (folder / f"{WHEEL.filename}.metadata").write_bytes(other)
    time.sleep(1)  # changes are seen within a second
    result = pip_install(tmp_path, server.simple, NAME)
    assert result.status != 0
    assert installed(tmp_path) == {}
    assert server.logged("differs from its wheel in Requires-Dist")


@pytest.mark.parametrize("install", [pip_install, uv_install])
def test_a_truncated_wheel_does_not_hinder_the_one_before(
    tmp_path: Path, folder: Path, server: Server, install: Install
) -> None:
    """While it is being copied the version before is installed; once whole, it is."""
    new = build_wheel(NAME, "2.0", requires=[NEEDED])
    path = folder / new.filename
    path.write_bytes(new.content[:-100])
    result = install(tmp_path, server.simple, NAME)
    assert result.status == 0, result.output
    assert installed(tmp_path)[NAME.replace("-", "_")] == "1.0"
    path.write_bytes(new.content)
    time.sleep(1)  # changes are seen within a second
    result = install(tmp_path, server.simple, f"{NAME}==2.0", options=("--upgrade",))
    assert result.status == 0, result.output


@pytest.mark.parametrize("install", [pip_install, uv_install])
def test_a_wheel_that_stays_truncated_is_not_taken_for_missing_metadata(
    tmp_path: Path, folder: Path, server: Server, install: Install
) -> None:
    """It is listed without metadata: the installer says what is wrong with the wheel itself."""
    path = folder / WHEEL.filename
    path.write_bytes(WHEEL.content[:-100])
    os.utime(path, (1e9, 1e9))
    result = install(tmp_path, server.simple, NAME)
    assert result.status != 0
    assert server.logged(f" GET /resources/{NAME}/{WHEEL.filename} ")
    assert ".metadata" not in server.log.replace("no metadata for", "")


def test_pip_does_not_keep_a_metadata_file_that_is_replaced(
    tmp_path: Path, folder: Path, server: Server
) -> None:
    """Its copy would not have the digest on the page: it would refuse the package for good."""

    def install() -> Result:
        return run(
            tmp_path, "pip", "install", "--cache-dir", tmp_path / "pip-cache", "--trusted-host",
            "127.0.0.1", "--index-url", server.simple, "--dry-run", "--no-deps", NAME,
        )  # fmt: skip

    for more in (b"\nMore of it.\n", b"\nStill more of it.\n"):
        (folder / f"{WHEEL.filename}.metadata").write_bytes(WHEEL.metadata + more)
        time.sleep(1.5)  # a change is seen within a second
        result = install()
        assert result.status == 0, result.output
    assert "cached" in install().output, "it asks whether its copy is right, and uses it"
