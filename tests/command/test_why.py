"""`simple-repository-server why`: the same answer with and without a running server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.serving import serving

WHEELS = [build_wheel("foo", version) for version in ("1.0", "2.0")]


def _run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SRS_")}
    return subprocess.run(
        [sys.executable, "-m", "simple_repository_server", "why", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, env={**clean, **environment},
    )  # fmt: skip


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """An empty directory, and one with the wheels."""
    made = [tmp_path / "empty", tmp_path / "full"]
    for folder in made:
        folder.mkdir()
    for wheel in WHEELS:
        (made[1] / wheel.filename).write_bytes(wheel.content)
    return made


@pytest.mark.parametrize(
    ("wanted", "status", "summary"),
    [
        ("Foo", 0, "foo is shown with 2 files."),
        ("foo==2", 0, "foo 2 is shown with 1 file."),
        ("foo===1.0", 0, "foo 1.0 is shown with 1 file."),
        ("foo == 3", 1, "foo has no file of version 3."),
        ("bar", 1, "bar is not in this index: no source that may have it has it."),
    ],
)
def test_it_explains_and_its_status_says_whether_it_is_shown(
    tmp_path: Path, folders: list[Path], wanted: str, status: int, summary: str
) -> None:
    """Asked itself or through a running server, it prints the same text and ends the same."""
    done = _run(wanted, *folders, "--no-cache")
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.splitlines()[0] == summary
    assert f"directory {folders[0]}: does not have it" in done.stdout
    with serving(tmp_path, *folders, "--no-cache") as server:
        for url in (server.url, server.simple):
            asked = _run(wanted, "--url", url)
            assert (asked.returncode, asked.stdout) == (status, done.stdout)


def test_json(tmp_path: Path, folders: list[Path]) -> None:
    """`--json` prints what `/why/` answers."""
    done = _run("foo==1.0", *folders, "--no-cache", "--json")
    found = json.loads(done.stdout)
    assert (found["project"], found["version"], found["shown"]) == ("foo", "1.0", True)
    with serving(tmp_path, *folders, "--no-cache") as server:
        assert _run("foo==1.0", "--url", server.url, "--json").stdout == done.stdout


def test_what_rules_hide_is_explained_alike(tmp_path: Path, folders: list[Path]) -> None:
    """Hidden files have their rule and reason, as text and as JSON, with and without a server."""
    config = tmp_path / "rules.toml"
    config.write_text(f"[sources.own]\npath = '{folders[1]}'\n[[rules]]\ndeny = ['foo<2']\n")
    hidden = WHEELS[0].filename
    with serving(tmp_path, "--config", config, "--no-cache") as server:
        for form in ([], ["--json"]):
            alone = _run("foo", "--config", config, "--no-cache", *form)
            asked = _run("foo", "--url", server.url, *form)
            assert (alone.returncode, alone.stderr) == (0, "")
            assert asked.stdout == alone.stdout
            assert hidden in alone.stdout
            assert "version 1.0 is denied" in alone.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-bad-"], "No such option"),
        (["bad/name"], "'bad/name' is not a valid project name."),
        (["foo", "--url", "ftp://127.0.0.1/"], "is not an http(s) URL"),
        (["foo", "--url", "http://127.0.0.1:9/"], "gives no explanation: "),
        (["foo", "--url", "http://127.0.0.1:9/", "packages"], "cannot be used together"),
        (["foo", "--index", "other", "--no-cache"], "There is no index 'other'."),
        (["foo", "/nonexistent/packages"], "/nonexistent/packages"),
        ([], "Missing argument"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments: list[str], text: str) -> None:
    """What cannot be asked is one line that says so."""
    done = _run(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert text in done.stderr


def test_a_server_without_explanations(tmp_path: Path, folders: list[Path]) -> None:
    """An index that the server does not have is status 2, with the address that was asked."""
    with serving(tmp_path, *folders, "--no-cache") as server:
        done = _run("foo", "--url", server.url, "--index", "nothing")
    assert done.returncode == 2
    assert f"{server.url}nothing/why/foo answers with status 404" in done.stderr


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-other\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b'{"explanation":{"sources":[' * 6_000,
    ],
    ids=["no HTTP", "broken off", "long header", "nested"],
)
def test_an_address_of_something_else_is_one_line(raw: bytes) -> None:
    """Whatever answers there, the command says that it is no explanation, with status 2."""
    with Upstream() as upstream:
        upstream.on("/why/foo", Reply(raw=raw))
        done = _run("foo", "--url", upstream.url)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "gives no explanation: " in done.stderr


def test_a_server_that_refuses_says_why() -> None:
    """The sentence that a server answers instead of an explanation is shown."""
    refusal = Reply(status=421, body=b'{"detail": "Use --allowed-host."}')
    with Upstream() as server:
        server.on("/why/foo", refusal)
        done = _run("foo", "--url", server.url)
    assert done.returncode == 2
    assert done.stderr.endswith("answers with status 421: Use --allowed-host.\n")


def test_passwords_are_not_shown(folders: list[Path]) -> None:
    """Neither those of sources nor those of the server."""
    done = _run("foo", "--url", "http://alice:secret@127.0.0.1:9/")
    assert "secret" not in done.stderr
    done = _run("foo", folders[1], "http://alice:secret@127.0.0.1:9/simple/", "--no-cache")
    assert done.returncode == 0
    assert "secret" not in done.stdout
