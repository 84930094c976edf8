"""Unmodified pip, uv, poetry and pdm against a live server, over every kind of source."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.conftest import APPLICATION, DISTRIBUTIONS, LIBRARY
from tests.clients.installers import Result, installed, pip_install, run, uv_install
from tests.serving import Server

Install = Callable[..., Result]
BOTH = {"srs_fixture_application": "3.0", "srs_fixture_library": "1.5+local.1"}


@pytest.mark.parametrize("install", [pip_install, uv_install])
def test_install(server: Server, tmp_path: Path, install: Install) -> None:
    """An application comes with its dependency: of the highest version this Python may have."""
    result = install(tmp_path, server.simple, APPLICATION)
    assert result.status == 0, result.output
    assert installed(tmp_path) == BOTH


@pytest.mark.parametrize("install", [pip_install, uv_install])
def test_an_unknown_project_is_not_found(server: Server, tmp_path: Path, install: Install) -> None:
    """A name nobody has is reported as such, by name."""
    result = install(tmp_path, server.simple, "srs-fixture-nowhere")
    assert result.status != 0
    assert "srs-fixture-nowhere" in result.output


def test_pip_with_lazy_wheels(server: Server, tmp_path: Path) -> None:
    """pip reads metadata by ranges, where it is told to."""
    result = pip_install(
        tmp_path, server.simple, APPLICATION, options=("--use-feature", "fast-deps")
    )
    assert result.status == 0, result.output
    assert installed(tmp_path) == BOTH


def test_pip_download_and_hashes(server: Server, tmp_path: Path) -> None:
    """Downloaded files are the published bytes; the hashes pip is given are checked."""
    result = run(
        tmp_path, "pip", "download", "--no-cache-dir", "--no-deps", "--only-binary", ":all:",
        "--index-url", server.simple, f"{LIBRARY}==1.5+local.1",
    )  # fmt: skip
    assert result.status == 0, result.output
    built = DISTRIBUTIONS[1]
    assert (tmp_path / built.filename).read_bytes() == built.content
    for digest, status in ((built.sha256, 0), ("0" * 64, 1)):
        wanted = tmp_path / "requirements.txt"
        wanted.write_text(f"{LIBRARY}==1.5+local.1 --hash=sha256:{digest}\n")
        options = ("--require-hashes", "--no-deps", "-r", str(wanted), "--upgrade")
        assert pip_install(tmp_path, server.simple, options=options).status == status


def test_uv_compiles_with_hashes(server: Server, tmp_path: Path) -> None:
    """uv locks the set with the hash of each file."""
    (tmp_path / "requirements.in").write_text(f"{APPLICATION}\n")
    result = run(
        tmp_path, "uv", "pip", "compile", "--default-index", server.simple, "--no-build",
        "--generate-hashes", "requirements.in",
    )  # fmt: skip
    assert result.status == 0, result.output
    assert f"{LIBRARY}==1.5+local.1" in result.output
    assert DISTRIBUTIONS[1].sha256 in result.output


def _project(folder: Path, tool: str = "") -> None:
    (folder / "pyproject.toml").write_text(
        f"""
[project]
name = "srs-fixture-consumer"
version = "0"
requires-python = ">=3.11,<3.15"
dependencies = ["{APPLICATION}"]
{tool}
"""
    )


def test_uv_locks_twice(server: Server, tmp_path: Path) -> None:
    """uv locks a project; locking again, it asks for what changed and gets 304s."""
    _project(tmp_path)
    for extra in ([], ["--upgrade", "--refresh"]):
        result = run(tmp_path, "uv", "lock", "--default-index", server.simple, "--no-build", *extra)
        assert result.status == 0, result.output
    lock = (tmp_path / "uv.lock").read_text()
    assert DISTRIBUTIONS[1].sha256 in lock
    assert server.logged(" 304 GET /simple/srs-fixture-library/")


def test_poetry_locks(server: Server, tmp_path: Path) -> None:
    """poetry locks a project from the index."""
    _project(
        tmp_path,
        f"""
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "under-test"
url = "{server.simple}"
priority = "primary"
""",
    )
    result = run(tmp_path, "poetry", "lock", "--no-interaction")
    assert result.status == 0, result.output
    assert DISTRIBUTIONS[1].sha256 in (tmp_path / "poetry.lock").read_text()


def test_pdm_locks(server: Server, tmp_path: Path) -> None:
    """pdm locks a project from the index."""
    _project(
        tmp_path,
        f"""
[[tool.pdm.source]]
name = "pypi"
url = "{server.simple}"
verify_ssl = false
""",
    )
    result = run(tmp_path, "pdm", "lock", PDM_IGNORE_SAVED_PYTHON="1", PDM_PYTHON=sys.executable)
    assert result.status == 0, result.output
    assert DISTRIBUTIONS[1].sha256 in (tmp_path / "pdm.lock").read_text()
