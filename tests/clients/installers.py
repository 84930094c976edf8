"""Real, unmodified installers, cut off from every index but the one under test."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

_TIMEOUT_S = 120


class Result(msgspec.Struct, frozen=True):
    """How a client's run ended, and all it said."""

    status: int
    output: str


def run(folder: Path, *command: str | Path, **environment: str) -> Result:
    """Run a client in a folder, with caches and configuration of its own there."""
    clean = {
        **os.environ,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_RETRIES": "0",
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(folder / "uv-cache"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_HTTP_RETRIES": "0",
        "POETRY_CACHE_DIR": str(folder / "poetry-cache"),
        "POETRY_KEYRING_ENABLED": "false",
        "PDM_CACHE_DIR": str(folder / "pdm-cache"),
        "PDM_CHECK_UPDATE": "0",
        "PYTHONWARNINGS": "ignore",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=folder,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    return Result(done.returncode, done.stdout)


def pip_install(folder: Path, index: str, *wanted: str, options: tuple[str, ...] = ()) -> Result:
    """`pip install` into `<folder>/target`, from that index alone, built distributions only."""
    return run(
        folder, "pip", "install", "--no-cache-dir", "--only-binary", ":all:", "--index-url", index,
        "--target", folder / "target", *options, *wanted,
    )  # fmt: skip


def uv_install(folder: Path, index: str, *wanted: str, options: tuple[str, ...] = ()) -> Result:
    """`uv pip install` into `<folder>/target`, from that index alone, without building."""
    return run(
        folder, "uv", "pip", "install", "--default-index", index, "--no-build", "--python",
        sys.executable, "--target", folder / "target", *options, *wanted,
    )  # fmt: skip


def installed(folder: Path) -> dict[str, str]:
    """Which distributions a client has put into `<folder>/target`, with their versions."""
    return dict(_installed(folder / "target"))


def _installed(target: Path) -> Iterator[tuple[str, str]]:
    for info in sorted(target.glob("*.dist-info")):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        yield name, version
