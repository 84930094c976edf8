"""Secrets of the file are in no message, and not in a file that others can read."""

import os
from pathlib import Path

import pytest

from simple_repository_server.cli.given import config_file
from simple_repository_server.config.mistakes import Mistakes
from simple_repository_server.config.read import read_config
from tests.config.files import ENVIRONMENT, mistakes, write

SOURCE = '[sources.a]\npath = "packages"\n'
URL = "https://u:hunter2@h.example/"


@pytest.mark.parametrize(
    "text",
    [
        f"{SOURCE}[indexes.m]\nsources = ['{URL}']",
        f"[sources.a]\npath = '{URL}'",
        f"files = '{URL}'",
        f"memory = '{URL}'",
        f"{SOURCE}[[rules]]\nreserve = ['x']\nfor = '{URL}'",
        f"{SOURCE}[[rules]]\ndeny = ['{URL}']",
        f"[advisories]\nosv = '{URL}'",
        f"[audit]\nfile = '{URL}'",
    ],
)
def test_no_message_quotes_a_password(tmp_path: Path, text: str) -> None:
    """Wherever a URL with a password was written by mistake."""
    found = mistakes(tmp_path, text)
    assert found
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("proxy = 'http://u:hunter2@p.example:1'", "proxy"),
        ("proxy = 'u:hunter2@p.example:1'", "proxy"),
        ("[sources.x]\nurl='pypi'\nproxy='http://u:hunter2@p.example:1'", "sources.x.proxy"),
        (f"[sources.x]\nurl='{URL}'", "sources.x.url"),
    ],
)
def test_a_password_in_a_file_that_others_can_read(tmp_path: Path, text: str, key: str) -> None:
    """It is a mistake in proxies, too; a variable in its place is none."""
    for one, expected in ((text, 1), (text.replace("hunter2", "${TOKEN}"), 0)):
        path = write(tmp_path, one)
        path.chmod(0o644)
        try:
            read_config(path, environment=ENVIRONMENT)
            found = []
        except Mistakes as error:
            found = [mistake.key for mistake in error.mistakes if "chmod" in mistake.text]
        assert found == [key] * expected


def test_a_pipe_is_no_configuration(tmp_path: Path) -> None:
    """It is refused at once: what a worker reads from it, the next one would miss."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Mistakes, match="not a regular file"):
        read_config(tmp_path / "pipe")


def test_a_link_to_nothing_is_not_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the working directory is used, and refused, rather than served without."""
    monkeypatch.chdir(tmp_path)
    assert config_file(None) is None
    Path("simple-repository-server.toml").symlink_to("missing")
    assert config_file(None) is not None
