"""What docs/configuration.md shows works as it is shown."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents.places import company_folder
from tests.documents.transcripts import toml_blocks

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
WITH_MISTAKE = """\
[sources.pypi]
url = "pypi"

[indexes.main]
sources = ["pypi"]

[[indexes.main.rules]]
deny = ["leftpad"]

[[indexes.main.rules]]
min-age = "7"
"""


def _command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in the folder of the file that it finds by itself."""
    command = [sys.executable, "-m", "simple_repository_server", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("text", toml_blocks(DOCUMENT))
def test_the_file_is_valid(text: str, tmp_path: Path) -> None:
    """`config check` has nothing to say about the file in the documentation."""
    company_folder(tmp_path, text)
    done = _command(tmp_path, "config", "check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_mistake_is_reported_as_documented(tmp_path: Path) -> None:
    """The line for a mistake names the file, the line, the key and the remedy, as documented."""
    company_folder(tmp_path, WITH_MISTAKE)
    (documented,) = re.findall(r"    \S+\.toml:\d+: (.*)", DOCUMENT.read_text())
    done = _command(tmp_path, "config", "check")
    assert done.returncode == 2
    assert f"simple-repository-server.toml:11: {documented}" in done.stdout + done.stderr


@pytest.mark.parametrize("what", ["check", "show", "schema"])
def test_the_commands_exist(what: str, tmp_path: Path) -> None:
    """Each command of the documentation succeeds with a valid file."""
    company_folder(tmp_path, toml_blocks(DOCUMENT)[0])
    assert f"simple-repository-server config {what}" in DOCUMENT.read_text()
    done = _command(tmp_path, "config", what)
    assert done.returncode == 0, done.stdout + done.stderr
