"""Configuration files for tests, and what reading them gives."""

from datetime import UTC, datetime
from pathlib import Path

from simple_repository_server.config.file_config import FileConfig
from simple_repository_server.config.mistakes import Mistakes
from simple_repository_server.config.read import CheckAdvisories, read_config

NOW = datetime(2026, 8, 15, 12, 0, tzinfo=UTC)
ENVIRONMENT = {"TOKEN": "s3cret/pass", "HOME": "/nonexistent"}


def write(folder: Path, text: str, name: str = "srs.toml") -> Path:
    """The file, readable by its owner only; `packages`, `osv` and `file` exist beside it."""
    (folder / "packages").mkdir(exist_ok=True)
    (folder / "osv").mkdir(exist_ok=True)
    (folder / "file").write_text("{}")
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def read(folder: Path, text: str, check_advisories: CheckAdvisories | None = None) -> FileConfig:
    """What a file with that text says at `NOW`."""
    return read_config(
        write(folder, text), environment=ENVIRONMENT, now=NOW, check_advisories=check_advisories
    )


def mistakes(
    folder: Path, text: str, check_advisories: CheckAdvisories | None = None
) -> list[tuple[int, str, str]]:
    """Line, key and text of each mistake in a file with that text."""
    try:
        read(folder, text, check_advisories)
    except Mistakes as error:
        return [(one.line, one.key, one.text) for one in error.mistakes]
    return []
