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

from simple_repository_server.cli.cache import cache as group
from simple_repository_server.cli.main import is_about_cache
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from tests.serving import comes_true, serving

ROOT = Path(__file__).parents[2]
CONTENTS = [b"%d" % number * 10_000 for number in range(3)]
COMMANDS = ["info", "clear", "verify", "prune", "refresh", "forget"]


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


def _needed(name: str) -> list[str]:
    """The arguments without which a command does nothing."""
    return {"clear": ["--yes"], "refresh": ["foo"], "forget": ["foo"]}.get(name, [])


def _path(folder: Path, content: bytes) -> Path:
    digest = hashlib.sha256(content).hexdigest()
    return folder / "files" / digest[:2] / digest[2:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a cache with three files in it, the first one used least recently."""
    folder = tmp_path / "cache"

    async def prepare() -> None:
        async with CacheFolder(folder) as disk:
            for days, content in enumerate(reversed(CONTENTS), 1):
                file = disk.files.create()
                file.append([content])
                path = disk.files.store(file, hashlib.sha256(content).hexdigest()).path
                file.close()
                used_at = time.time() - days * 24 * 3600
                os.utime(path, (used_at, used_at))

    asyncio.run(prepare())
    return folder


# --- which command it is -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["cache"], ["cache", "info", "--cache-dir", "x"], ["cache", "inof"], ["cache", "--help"]],
)
def test_cache_as_first_argument_is_the_sub_command(arguments: list[str]) -> None:
    """Whatever follows."""
    assert is_about_cache(arguments)


@pytest.mark.parametrize(
    "arguments", [[], ["./cache", "info"], ["--port", "0"], ["pypi", "cache", "info"], ["caches"]]
)
def test_anything_else_serves(arguments: list[str]) -> None:
    """`cache` is a directory like any other behind another source."""
    assert not is_about_cache(arguments)


@pytest.mark.parametrize("name", ["cache", "refresh"])
def test_a_directory_called_cache_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As `./cache`, and as a further source also by its plain name."""
    (tmp_path / "packages" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "packages")
    with serving(tmp_path, f"./{name}") as server:
        assert f"1. {name} (directory)" in server.banner.replace("./", "")
    with serving(tmp_path, ".", name) as server:
        assert f"2. {name} (directory)" in server.banner


def test_cache_alone_prints_its_help() -> None:
    """With the commands, and how to serve a directory of that name."""
    result = _run("cache")
    assert result.returncode == 2
    assert all(name in result.stdout for name in COMMANDS)
    assert "./cache" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["cache", "inof"], "Did you mean 'info'?"),
        (["cache", "clean"], "Did you mean 'clear'?"),
        (["cache", "verfy"], "Did you mean 'verify'?"),
        (["cache", "refesh", "foo"], "Did you mean 'refresh'?"),
        (["cache", "pypi"], "The commands are clear, forget, info, prune, refresh, verify."),
        (["--port", "0", "cache", "info"], "must precede all options"),
        (["--no-cache", "cache"], "'./cache'"),
    ],
)
def test_an_unknown_command_suggests_the_nearest(
    tmp_path: Path, arguments: list[str], meant: str
) -> None:
    """One line and status 2, also if there is such a directory."""
    (tmp_path / "cache").mkdir()
    result = _run(*arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert meant in result.stderr


def test_help_names_all_commands() -> None:
    """Of the server and of the sub-command."""
    for arguments in (["--help"], ["cache", "--help"], ["cache", "-h"]):
        result = _run(*arguments)
        assert result.returncode == 0
        for name in COMMANDS:
            assert name in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_docs(name: str) -> None:
    """The reference of the command names each option."""
    text = (ROOT / "docs" / "command.md").read_text()
    assert f"`cache {name}" in text
    for parameter in group.commands[name].params:
        shown = parameter.opts[0] if parameter.param_type_name == "option" else "PROJECT"
        assert f"{shown}" in text


# --- nothing there, or nothing of ours -----------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_an_absent_cache_is_no_error(tmp_path: Path, name: str) -> None:
    """A folder that does not exist, or is empty: one line reports it, and none is created."""
    folder = tmp_path / "none"
    for _ in range(2):
        result = _run("cache", name, "--cache-dir", folder, *_needed(name))
        assert (result.returncode, result.stderr) == (0, "")
        assert str(folder) in result.stdout
        assert len(result.stdout.splitlines()) == 1
        assert not folder.exists() or not any(folder.iterdir())
        folder.mkdir(exist_ok=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_foreign_folder_is_refused(folder: Path, name: str) -> None:
    """Without our tag nothing is touched: status 2, and one line."""
    (folder / "CACHEDIR.TAG").unlink()
    (folder / "thesis.txt").write_text("years of work")
    result = _run("cache", name, "--cache-dir", folder, *_needed(name))
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert str(folder) in result.stderr
    assert all(_path(folder, content).exists() for content in CONTENTS)


@pytest.mark.parametrize("size", ["much", "10", "999999", "10GB of it", "-5"])
def test_invalid_sizes_are_refused(folder: Path, size: str) -> None:
    """Also a number whose unit was forgotten; each is named in one line."""
    for name in ("info", "prune"):
        result = _run("cache", name, "--cache-dir", folder, "--cache-size", size)
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
        assert size in result.stderr
    assert all(_path(folder, content).exists() for content in CONTENTS)


def test_prune_to_zero_evicts_all(folder: Path) -> None:
    """Zero is a size that is meant."""
    assert _run("cache", "prune", "--cache-dir", folder, "--cache-size", "0").returncode == 0
    assert not any(_path(folder, content).exists() for content in CONTENTS)


@pytest.mark.parametrize("size", ["10", "0", "999kB"])
def test_a_server_refuses_an_absurd_budget(tmp_path: Path, size: str) -> None:
    """With one line that names the least: such a cache could hold nothing."""
    result = _run("--cache-size", size, "--cache-dir", tmp_path / "new", ".")
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert "1.0 MB" in result.stderr
    assert not (tmp_path / "new").exists()


def test_no_cache_writes_nothing(tmp_path: Path) -> None:
    """`--no-cache` leaves no file anywhere, not even digests of local files."""
    packages = tmp_path / "packages"
    packages.mkdir()
    wheel = build_wheel("foo", "1.0")
    (packages / wheel.filename).write_bytes(wheel.content)
    before = {path for path in tmp_path.rglob("*") if path.suffix != ".log"}
    with serving(tmp_path, "--no-cache", packages) as server:
        from urllib.request import urlopen

        with urlopen(f"{server.simple}foo/") as answer:
            assert wheel.filename in answer.read().decode()
    assert {path for path in tmp_path.rglob("*") if path.suffix != ".log"} == before


# --- what they do --------------------------------------------------------------------------------


def test_info_shows_usage_as_text_and_json(folder: Path) -> None:
    """Counts and sizes by kind, the budget and the times."""
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


def test_clear_without_a_terminal_needs_yes(folder: Path) -> None:
    """With `--yes` it removes all entries and reports how much that was."""
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


def test_verify_prints_and_removes_damage(folder: Path) -> None:
    """A line per damage; status 1 while it is there, 0 once it is repaired."""
    assert _run("cache", "verify", "--cache-dir", folder).stdout == (
        "Checked 3 files: no damage found.\n"
    )
    path = _path(folder, CONTENTS[1])
    os.truncate(path, 5)
    (folder / "files" / "evil\x1b[31m").write_bytes(b"x")
    result = _run("cache", "verify", "--dry-run", "--cache-dir", folder)
    assert result.returncode == 1
    assert result.stdout.endswith("Checked 4 files: 2 damaged, nothing was changed.\n")
    assert f"{path}: its content does not match its digest\n" in result.stdout
    assert "\x1b" not in result.stdout
    result = _run("cache", "verify", "--cache-dir", folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{path}: its content does not match its digest; removed\n" in result.stdout
    assert [_path(folder, content).exists() for content in CONTENTS] == [True, False, True]
    assert _run("cache", "verify", "--cache-dir", folder).stdout.endswith("no damage found.\n")


def test_verify_shows_a_progress_bar_on_a_terminal(folder: Path) -> None:
    """On stderr; stdout does not change."""
    ours, theirs = pty.openpty()
    command = _command("cache", "verify", "--cache-dir", folder)
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=60, check=False)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "reading the cache" in shown
    assert result.stdout == b"Checked 3 files: no damage found.\n"


def test_prune_evicts_and_reports_how_much(folder: Path) -> None:
    """The least recently used entries; a dry run reports the same."""
    size = ["--cache-size", "25kB"]
    planned = _run("cache", "prune", "--dry-run", "--cache-dir", folder, *size).stdout
    assert planned == "Would remove 1 file (12.3 kB); 2 files (24.6 kB) left.\n"
    assert _path(folder, CONTENTS[0]).exists()
    done = _run("cache", "prune", "--cache-dir", folder, *size).stdout
    assert done == planned.replace("Would remove", "Removed")
    assert [_path(folder, content).exists() for content in CONTENTS] == [False, True, True]
    done = _run("cache", "prune", "--cache-dir", folder, "--unused-for", "1.5").stdout
    assert "Removed 1 file " in done
    assert [_path(folder, content).exists() for content in CONTENTS] == [False, False, True]


def _has_open(pid: int, path: Path) -> bool:
    return any(entry.resolve() == path for entry in Path(f"/proc/{pid}/fd").iterdir())


def test_ctrl_c_ends_verify_with_one_line(folder: Path) -> None:
    """And status 130; what is valid is still there."""
    big = folder / "files" / "ab" / ("c" * 62)
    big.parent.mkdir(exist_ok=True)
    with big.open("wb") as file:
        file.truncate(20 * 1000**3)
    with subprocess.Popen(
        _command("cache", "verify", "--cache-dir", folder),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert comes_true(lambda: _has_open(process.pid, big))
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert time.monotonic() - begun < 2
    assert process.returncode == 130
    assert len(errors.splitlines()) == 1
    assert big.exists()


def test_a_server_serves_on_while_its_cache_is_cleared(tmp_path: Path, upstream: Upstream) -> None:
    """What was cleared is fetched and cached again, and all of the cache is valid."""
    wheel = build_wheel("foo", "1.0", files={"data": os.urandom(100_000)})
    publish_json(upstream, [wheel])
    folder = tmp_path / "cache"
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
            assert result.stdout.endswith("no damage found.\n"), result.stdout
            assert _path(folder, wheel.content).exists()
            result = _run("cache", "clear", "--yes", "--cache-dir", folder)
            assert result.returncode == 0
            assert not _path(folder, wheel.content).exists()
        assert "Traceback" not in server.log


def test_refresh_and_forget(tmp_path: Path, upstream: Upstream) -> None:
    """A running server shows a new release at once; forgotten pages are gone from the disk."""
    publish_json(upstream, [build_wheel("foo", "1.0")], max_age=3600)
    folder = tmp_path / "cache"
    from urllib.request import urlopen

    def page() -> str:
        with urlopen(f"{server.simple}foo/") as answer:
            text: str = answer.read().decode()
            return text

    with serving(tmp_path, "--cache-dir", folder, upstream.simple) as server:
        assert "foo-1.0" in page()
        for version, name in enumerate(("refresh", "forget"), 2):
            assert comes_true(lambda: any((folder / "pages").rglob("foo")))
            publish_json(upstream, [build_wheel("foo", f"{version}.0")], max_age=3600)
            assert f"foo-{version}.0" not in page()
            result = _run("cache", name, "Foo", "nope", "--cache-dir", folder)
            assert (result.returncode, result.stderr) == (0, "")
            first, second = result.stdout.splitlines()
            assert first.startswith("foo: ")
            assert "1 " in first
            assert second == "nope: nothing is cached"
            assert comes_true(lambda: f"foo-{version}.0" in page())  # noqa: B023 - called in this turn
        assert _run("cache", "refresh", "///", "--cache-dir", folder).returncode == 2
