"""`simple-repository-server cache`: what it prints, what it refuses, how it ends."""

import asyncio
import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simple_repository_server.cache.disk import DiskCache
from simple_repository_server.cli.cache import cache as group
from simple_repository_server.cli.main import is_about_cache
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from tests.serving import serving

ROOT = Path(__file__).parents[2]
CONTENTS = [b"%d" % number * 10_000 for number in range(3)]
COMMANDS = ["info", "clear", "verify", "prune"]


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "simple_repository_server", *map(str, arguments)]


def _run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )


def _path(folder: Path, content: bytes) -> Path:
    digest = hashlib.sha256(content).hexdigest()
    return folder / "files" / digest[:2] / digest[2:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a cache with three files in it, the first one used least recently."""
    folder = tmp_path / "kept"

    async def prepare() -> None:
        async with DiskCache(folder) as disk:
            for days, content in enumerate(reversed(CONTENTS), 1):
                file = disk.files.create()
                file.append([content])
                path = disk.files.keep(file, hashlib.sha256(content).hexdigest()).path
                file.close()
                used_at = time.time() - days * 24 * 3600
                os.utime(path, (used_at, used_at))

    asyncio.run(prepare())
    return folder


# --- which command it is -------------------------------------------------------------------------


@pytest.mark.parametrize("second", [*COMMANDS, "--help", "-h"])
def test_it_is_the_sub_command(second: str) -> None:
    """With `cache` first and one of its commands second."""
    assert is_about_cache(["cache", second, "--cache-dir", "x"])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["cache"],
        ["./cache", "info"],
        ["cache", "pypi"],
        ["cache", "--port", "0"],
        ["--port", "0", "cache", "info"],
        ["pypi", "cache", "info"],
    ],
)
def test_it_is_the_plain_form(arguments: list[str]) -> None:
    """Anything else serves, and `cache` is a directory like any other."""
    assert not is_about_cache(arguments)


def test_a_directory_called_cache_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`simple-repository-server cache` serves it."""
    (tmp_path / "packages" / "cache").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "packages")
    assert "cache: no such file" not in _run("cache", "--port", "65536").stderr
    with serving(tmp_path, "cache") as server:
        assert "1. cache (directory)" in server.banner


def test_help() -> None:
    """Both helps name all of the commands."""
    for arguments in (["--help"], ["cache", "--help"], ["cache", "-h"]):
        result = _run(*arguments)
        assert result.returncode == 0
        for name in COMMANDS:
            assert name in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_docs(name: str) -> None:
    """The reference of the command names each option."""
    text = (ROOT / "docs" / "command.md").read_text()
    for parameter in group.commands[name].params:
        assert f"`{parameter.opts[0]}" in text


# --- nothing there, or nothing of ours -----------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_no_cache_is_no_error(tmp_path: Path, name: str) -> None:
    """A folder that does not exist, or is empty: one line says so, and none is made."""
    folder = tmp_path / "none"
    for _ in range(2):
        result = _run("cache", name, "--cache-dir", folder)
        assert (result.returncode, result.stderr) == (0, "")
        assert str(folder) in result.stdout
        assert len(result.stdout.splitlines()) == 1
        assert not folder.exists() or not any(folder.iterdir())
        folder.mkdir(exist_ok=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_is_no_cache_is_refused(folder: Path, name: str) -> None:
    """Without our tag nothing is touched: status 2, and one line."""
    (folder / "CACHEDIR.TAG").unlink()
    (folder / "thesis.txt").write_text("years of work")
    result = _run("cache", name, "--cache-dir", folder, *(["--yes"] if name == "clear" else []))
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert str(folder) in result.stderr
    assert all(_path(folder, content).exists() for content in CONTENTS)


def test_bad_sizes_are_refused(folder: Path) -> None:
    """A size that is none is named in one line."""
    for name in ("info", "prune"):
        result = _run("cache", name, "--cache-dir", folder, "--cache-size", "much")
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
        assert "'much'" in result.stderr


# --- what they do --------------------------------------------------------------------------------


def test_info(folder: Path) -> None:
    """Counts and sizes by kind, the budget and the times, for people and for machines."""
    text = _run("cache", "info", "--cache-dir", folder, "--cache-size", "1MB").stdout
    for words in (str(folder), "files", "pages", "metadata", "links", "1.0 MB", "3 days ago"):
        assert words in text
    facts = json.loads(_run("cache", "info", "--cache-dir", folder, "--json").stdout)
    assert facts["kinds"]["files"] == facts["total"] == {"files": 3, "bytes": 3 * 12288}
    assert facts["budget_bytes"] == 10 * 1000**3
    assert facts["free_bytes"] > 0
    assert facts["newest_use"] - facts["oldest_use"] == pytest.approx(2 * 24 * 3600, abs=5)
    missing = _run("cache", "info", "--json", "--cache-dir", folder / "no")
    assert json.loads(missing.stdout)["exists"] is False


def test_clear_needs_to_be_sure(folder: Path) -> None:
    """Without a terminal and `--yes` it refuses; with it, it removes and says how much."""
    result = _run("cache", "clear", "--cache-dir", folder)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "--yes" in result.stderr
    assert _path(folder, CONTENTS[0]).exists()
    result = _run("cache", "clear", "--cache-dir", folder, "--yes")
    assert result.returncode == 0
    assert "Removed 3 files (36.9 kB)" in result.stdout
    assert not any((folder / "files").iterdir())
    assert _run("cache", "info", "--cache-dir", folder).returncode == 0


@pytest.mark.parametrize(("answer", "status"), [("n", 1), ("y", 0), ("Ctrl-C", 130)])
def test_clear_asks_on_a_terminal(folder: Path, answer: str, status: int) -> None:
    """No means no, Ctrl-C means no, and yes means yes."""
    ours, theirs = pty.openpty()
    command = _command("cache", "clear", "--cache-dir", folder)
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert os.read(process.stderr.fileno(), 1000).startswith(b"Remove 3 files")
        if answer == "Ctrl-C":
            time.sleep(0.5)  # a signal just before it waits for the answer would be seen after it
            process.send_signal(signal.SIGINT)
        else:
            os.write(ours, f"{answer}\n".encode())
        _, errors = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == status
    assert b"Traceback" not in errors
    assert _path(folder, CONTENTS[0]).exists() == (status != 0)


def test_verify(folder: Path) -> None:
    """A line per damage; 1 as long as it is there, 0 once it is repaired."""
    assert _run("cache", "verify", "--cache-dir", folder).stdout == (
        "Looked at 3 files: all sound.\n"
    )
    path = _path(folder, CONTENTS[1])
    os.truncate(path, 5)
    (folder / "files" / "evil\x1b[31m").write_bytes(b"x")
    result = _run("cache", "verify", "--dry-run", "--cache-dir", folder)
    assert result.returncode == 1
    assert result.stdout.endswith("Looked at 4 files: 2 damaged, nothing was changed.\n")
    assert f"{path}: its content is not that of its digest\n" in result.stdout
    assert "\x1b" not in result.stdout
    result = _run("cache", "verify", "--cache-dir", folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{path}: its content is not that of its digest; removed\n" in result.stdout
    assert [_path(folder, content).exists() for content in CONTENTS] == [True, False, True]
    assert _run("cache", "verify", "--cache-dir", folder).stdout.endswith("all sound.\n")


def test_verify_shows_how_far_it_is(folder: Path) -> None:
    """On a terminal there is a bar on stderr, and stdout is as ever."""
    ours, theirs = pty.openpty()
    command = _command("cache", "verify", "--cache-dir", folder)
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=60, check=False)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "reading the cache" in shown
    assert result.stdout == b"Looked at 3 files: all sound.\n"


def test_prune(folder: Path) -> None:
    """What was used least recently goes, and it is said how much that is."""
    size = ["--cache-size", "25kB"]
    said = _run("cache", "prune", "--dry-run", "--cache-dir", folder, *size).stdout
    assert said == "Would remove 1 file (12.3 kB); 2 files (24.6 kB) stay.\n"
    assert _path(folder, CONTENTS[0]).exists()
    done = _run("cache", "prune", "--cache-dir", folder, *size).stdout
    assert done == said.replace("Would remove", "Removed")
    assert [_path(folder, content).exists() for content in CONTENTS] == [False, True, True]
    done = _run("cache", "prune", "--cache-dir", folder, "--unused-for", "1.5").stdout
    assert "Removed 1 file " in done
    assert [_path(folder, content).exists() for content in CONTENTS] == [False, False, True]


def test_ctrl_c_is_one_line(folder: Path) -> None:
    """Stopped in the middle it ends with 130, and what is sound is still there."""
    big = folder / "files" / "ab" / ("c" * 62)
    big.parent.mkdir(exist_ok=True)
    with big.open("wb") as file:
        file.truncate(20 * 1000**3)
    with subprocess.Popen(
        _command("cache", "verify", "--cache-dir", folder),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        time.sleep(2)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert time.monotonic() - begun < 2
    assert process.returncode == 130
    assert len(errors.splitlines()) == 1
    assert big.exists()


def test_a_server_goes_on_while_its_cache_is_cleared(tmp_path: Path, upstream: Upstream) -> None:
    """What was cleared is fetched and kept again, and all that the server keeps is sound."""
    wheel = build_wheel("foo", "1.0", files={"data": os.urandom(100_000)})
    publish_json(upstream, [wheel])
    folder = tmp_path / "kept"
    target = f"resources/foo/{wheel.filename}"
    from urllib.request import urlopen

    with serving(tmp_path, "--files", "cache", "--cache-dir", folder, upstream.simple) as server:
        for _ in range(3):
            time.sleep(1.1)
            with urlopen(server.url + target) as answer:
                assert answer.read() == wheel.content
            with urlopen(f"{server.url}{target}.metadata"):
                pass
            result = _run("cache", "verify", "--cache-dir", folder)
            assert result.stdout.endswith("all sound.\n"), result.stdout
            assert _path(folder, wheel.content).exists()
            result = _run("cache", "clear", "--yes", "--cache-dir", folder)
            assert result.returncode == 0
            assert not _path(folder, wheel.content).exists()
        assert "Traceback" not in server.log
