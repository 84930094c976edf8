"""The command with a configuration file, and `config check|show|schema`, in real processes."""

import http.client
import json
import os
import re
import subprocess
import sys
import tomllib
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fastjsonschema
import pytest

from simple_repository_server.config.options import OPTIONS, Kind, Option
from simple_repository_server.testing.distributions import build_wheel
from tests.config.test_reading import EXAMPLE
from tests.serving import Server, serving

WHEEL = build_wheel("foo", "1.0")
RECORD = {
    "id": "PYSEC-2024-1",
    "modified": "2024-01-01T00:00:00Z",
    "affected": [{"package": {"ecosystem": "PyPI", "name": "bar"}, "versions": ["1.0"]}],
}


def _run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SRS_")}
    return subprocess.run(
        [sys.executable, "-m", "simple_repository_server", *arguments],
        cwd=folder,
        env={**clean, "XDG_CACHE_HOME": str(folder / "user"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _get(server: Server, target: str) -> int:
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)) as connection:
        connection.request("GET", target)
        with connection.getresponse() as response:
            response.read()
            return response.status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with packages, advisories, and a place for a file."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / WHEEL.filename).write_bytes(WHEEL.content)
    (tmp_path / "osv").mkdir()
    (tmp_path / "osv" / "record.json").write_text(json.dumps(RECORD))
    return tmp_path


def _write(folder: Path, text: str, name: str = "simple-repository-server.toml") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def _shown(folder: Path, *arguments: str, **environment: str) -> dict[str, tuple[Any, str]]:
    """What `config show` says: value and origin of each setting."""
    result = _run(folder, "config", "show", "--json", *arguments, **environment)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return {one["key"]: (one["value"], one["from"]) for one in json.loads(result.stdout)}


# --- serving -------------------------------------------------------------------------------------


def test_a_server_with_a_file(folder: Path) -> None:
    """Sources and options come from the file, whose paths are relative to its folder."""
    text = (
        "files = 'stream'\n[cache]\ndir = 'kept'\nsize = '5MB'\n[sources.ours]\npath = 'packages'"
    )
    path = _write(folder, text, "other.toml")
    with serving(folder, "--config", path) as server:
        assert f"{folder / 'packages'} (directory)" in server.banner
        assert f"{folder / 'kept'} (up to 5.0 MB)" in server.banner
        assert f"Configuration: {path}" in server.banner
        assert _get(server, "/simple/foo/") == 200
    with serving(folder, SRS_CONFIG=str(path)) as server:
        assert _get(server, "/simple/foo/") == 200


def test_a_start_states_the_file_the_indexes_and_the_rules(folder: Path) -> None:
    """The message lists the rules of sources and indexes, 20 of each; the log counts them."""
    rules = "[[indexes.b.rules]]\ndeny = ['x']\n" * 23
    path = _write(
        folder,
        "[sources.ours]\npath = 'packages'\n[[sources.ours.rules]]\nonly = 'wheels'\n"
        f"dry-run = true\n[indexes.a]\ndefault = true\n[indexes.b]\n"
        f"[[rules]]\ndeny = ['y']\n{rules}",
    )
    with serving(folder, "--config", path) as server:
        assert 'only = "wheels" (sources.ours, rule 1) (dry run)' in server.banner
        assert '/a/simple/ and /simple/: ours\n    deny = ["y"] (rule 1)\n' in server.banner
        assert "/b/simple/: ours\n" in server.banner
        assert "and 4 more: see `simple-repository-server config check`" in server.banner
        assert server.logged(f", 25 rules, by {path}")


def test_mistakes_end_the_start_with_a_line_for_each(folder: Path) -> None:
    """Nothing listens; stderr has each mistake as FILE:LINE: KEY: text; the status is 2."""
    _write(folder, "port = 'x'\n[sources.a]\npath = 'nowhere'\nurl = 'pypi'\n[cache]\nsize = '1'\n")
    for arguments in ((), ("config", "check"), ("config", "show")):
        result = _run(folder, *arguments)
        assert (result.returncode, result.stdout) == (2, "")
        lines = result.stderr.splitlines()
        assert [re.match(r"[^ ]* [^ ]*", line)[0] for line in lines] == [  # type: ignore[index]
            "simple-repository-server.toml:1: port:",
            "simple-repository-server.toml:2: sources.a:",
            "simple-repository-server.toml:6: cache.size:",
            "Error: There",
        ]


def test_a_wrong_proxy_and_wrong_certificates_are_reported_together(folder: Path) -> None:
    """Each at its own line, and once."""
    text = "proxy = 'socks5://p.example'\nca-file = 'nowhere'\n[sources.a]\nurl = 'pypi'\n"
    _write(folder, text)
    lines = _run(folder, "config", "check").stderr.splitlines()
    assert [line.split(" ")[0:2] for line in lines[:-1]] == [
        ["simple-repository-server.toml:1:", "proxy:"],
        ["simple-repository-server.toml:2:", "ca-file:"],
    ]


def test_a_file_that_is_named_must_exist(folder: Path) -> None:
    """A missing file is an error, not a start with other settings."""
    result = _run(folder, "--config", "nowhere.toml")
    assert result.returncode == 2
    assert "nowhere.toml: cannot be read: no such file" in result.stderr
    assert "SRS_CONFIG" not in result.stderr


def test_sources_of_the_command_line_and_of_the_file_exclude_each_other(folder: Path) -> None:
    """Sources given twice are refused: rules of the file could be about neither."""
    _write(folder, "[sources.a]\npath='packages'")
    result = _run(folder, "packages")
    assert result.returncode == 2
    assert "the sources are in simple-repository-server.toml:1" in result.stderr
    assert "--config none" in result.stderr
    result = _run(folder, SRS_SOURCES="packages")
    assert result.returncode == 2
    assert "SRS_SOURCES" in result.stderr
    assert _run(folder, "config", "check", "--config", "none", "packages").returncode == 0


def test_a_file_without_sources_serves_those_that_are_given(folder: Path) -> None:
    """Options and rules of such a file hold for the sources of the command line."""
    _write(folder, "memory = '64MB'\n[[rules]]\ndeny = ['x']")
    result = _run(folder, "config", "check", "packages")
    assert result.returncode == 0, result.stderr
    assert "packages (directory)" in result.stdout
    assert 'deny = ["x"] (rule 1)' in result.stdout


@pytest.mark.parametrize(
    ("text", "arguments", "line"),
    [
        ("files='cache'\nno-cache=true", [], 1),
        ("offline=true\n\nno-cache=true", [], 1),
        ("\nallowed-host=['http://x']", [], 2),
        ("\nforwarded-allow-ips='x.example'", [], 2),
        ("ca-file='nowhere'\n[sources.a]\nurl='pypi'", [], 1),
        ("proxy='foo://x'\n[sources.a]\nurl='pypi'", [], 1),
        ("memory='1MB'", [], 1),
        ("\nno-cache=true", ["--offline"], 2),
        ("no-cache=true\n[sources.a]\nurl='pypi'\nfiles='cache'", [], 4),
        ("no-cache=true\n[[rules]]\nmin-age='1 day'\nundated='first-seen'", [], 1),
    ],
)
def test_what_options_contradict_has_its_line(
    folder: Path, text: str, arguments: list[str], line: int
) -> None:
    """Values that are wrong together, or wrong as options, are mistakes with a line, too."""
    _write(folder, text)
    result = _run(folder, "config", "check", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(f"simple-repository-server.toml:{line}: "), result.stderr
    assert result.stderr.count("\n") == 2


def test_a_port_of_the_file_that_is_taken_is_named_by_its_line(folder: Path) -> None:
    """What only shows at the start says which line of the file it is about."""
    with serving(folder, folder / "packages") as server:
        port = urlsplit(server.url).port
        _write(folder, f"\nport = {port}\n[sources.a]\npath='packages'")
        result = _run(folder)
    assert result.returncode == 2
    assert f"{port}" in result.stderr
    assert "port (simple-repository-server.toml:2)" in result.stderr


# --- order ---------------------------------------------------------------------------------------


def test_the_order_is_flag_environment_file_default(folder: Path) -> None:
    """The first of these that sets an option wins, and `show` says which it was."""
    _write(folder, "port = 1001\nworkers = 2\nmemory = '64MB'\n")
    shown = _shown(folder, "--port", "1003", SRS_PORT="1002", SRS_WORKERS="3")
    assert shown["port"] == (1003, "--port")
    assert shown["workers"] == (3, "SRS_WORKERS")
    assert shown["memory"] == ("64MB", "simple-repository-server.toml:3")
    assert shown["host"] == ("127.0.0.1", "default")


@pytest.mark.parametrize(
    ("text", "arguments", "key", "value"),
    [
        ("cache-dir = 'x'", ["--no-cache"], "no-cache", True),
        ("no-cache = true", ["--cache-dir", "y"], "no-cache", False),
        ("files = 'cache'", ["--stream-http-resources"], "files", "stream"),
        ("stream-http-resources = true", ["--files", "cache"], "stream-http-resources", False),
    ],
)
def test_a_flag_replaces_what_it_contradicts_in_the_file(
    folder: Path, text: str, arguments: list[str], key: str, value: object
) -> None:
    """A flag wins over another option of the file that says the opposite."""
    _write(folder, text)
    assert _shown(folder, *arguments)[key][0] == value


def _value(option: Option) -> object:
    values: dict[Kind, object] = {
        Kind.TEXT: {"proxy": "http://u:hunter2@proxy.example:1"}.get(option.name, "127.0.0.2"),
        Kind.INTEGER: 7,
        Kind.SECONDS: "2 min",
        Kind.SIZE: "20MB",
        Kind.CHOICE: option.choices[-1] if option.choices else "",
        Kind.FLAG: False,
        Kind.PATH: "ca.pem",
        Kind.FOLDER: "somewhere",
        Kind.TEXTS: ["a.example"],
    }
    return values[option.kind]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_can_stand_in_the_file(folder: Path, option: Option) -> None:
    """Each option of the command is a key of the file, and then in force."""
    text, name = f"{option.name} = {json.dumps(_value(option))}\n", option.name
    if name == "forbidden-means-absent":
        text = f"{name} = ['a']\n[sources.a]\nurl = 'pypi'"
    if name == "ca-file":  # checked if an index is requested only
        text += "[sources.a]\npath = 'packages'\n"
        (folder / "ca.pem").write_bytes(_authority())
    _write(folder, text)
    value, origin = _shown(folder)[name]
    assert origin == "simple-repository-server.toml:1"
    assert value == (["a"] if name == "forbidden-means-absent" else tomllib.loads(text)[name]) or (
        name == "proxy" and value == "http://…@proxy.example:1"
    )


def _authority() -> bytes:
    import trustme

    return trustme.CA().cert_pem.bytes()


def test_the_cache_commands_use_the_cache_of_the_file(folder: Path) -> None:
    """Without `--cache-dir` they work on the folder that the server with this file uses."""
    for text in ("cache-dir = 'x'", "[cache]\ndir = 'x'"):
        _write(folder, text)
        assert f"at {folder / 'x'}" in _run(folder, "cache", "clear", "--yes").stdout
        assert f"at {folder / 'y'}" in _run(folder, "cache", "info", "--cache-dir", "y").stdout
    assert f"at {folder / 'user'}" in _run(folder, "cache", "info", SRS_CONFIG="none").stdout
    _write(folder, "cache-dir = ")
    result = _run(folder, "cache", "info")
    assert (result.returncode, result.stdout) == (2, "")
    assert "simple-repository-server.toml:1: not valid TOML" in result.stderr


# --- check, show, schema -------------------------------------------------------------------------


def test_check_describes_what_would_be_served(folder: Path) -> None:
    """`ok`, the sources, the indexes with their addresses, and the rules in their order."""
    _write(folder, EXAMPLE)
    result = _run(folder, "config", "check")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("ok: ")
    assert "/main/simple/ and /simple/: company, torch, pypi" in result.stdout
    assert 'min-age = "7 days" (indexes.main, rule 2)' in result.stdout


def test_check_without_a_file(folder: Path) -> None:
    """No file is no mistake."""
    result = _run(folder, "config", "check", "packages")
    assert result.returncode == 0
    assert result.stdout.startswith("ok: no configuration file")


def test_show_masks_secrets(folder: Path) -> None:
    """No secret is printed, however it is given; names of variables are."""
    (folder / "secret").write_text("hunter3")
    (folder / "secret").chmod(0o600)
    _write(
        folder,
        """
        proxy = "http://proxy-user:hunter1@proxy.example:3128"
        [sources.a]
        url = "https://ci:hunter2@a.example/simple/"
        [sources.b]
        url = "https://b.example/simple/"
        user = "ci"
        password-file = "secret"
        proxy = "u:hunter4@proxy.example"
        [sources.c]
        url = "https://c.example/simple/"
        user = "ci"
        password = "${TOKEN}"
        [sources.d]
        url = "https://${TOKEN}@d.example/${TOKEN}/"
        [sources.e]
        url = "https://e.example/simple/"
        user = "ci"
        password = "hunter5"
        """,
    )
    for form in ((), ("--json",)):
        result = _run(folder, "config", "show", *form, TOKEN="hunter6", SRS_PROXY="x:hunter7@p:1")
        assert result.returncode == 0, result.stderr
        assert "hunter" not in result.stdout
        assert "${TOKEN}" in result.stdout
    check = _run(folder, "config", "check", TOKEN="hunter6")
    assert check.returncode == 0
    assert "hunter" not in check.stdout


def test_show_reads_as_toml(folder: Path) -> None:
    """The text can be parsed, and then has the values of the file."""
    _write(folder, EXAMPLE)
    result = _run(folder, "config", "show")
    shown = tomllib.loads(result.stdout)
    wanted = tomllib.loads(EXAMPLE)
    assert {key: shown[key] for key in ("sources", "indexes", "advisories")} == {
        key: wanted[key] for key in ("sources", "indexes", "advisories")
    }
    assert re.search(r'^min-age = "7 days" +# simple-repository-server.toml:2\d$', result.stdout,
                     re.MULTILINE)  # fmt: skip


def _plain(value: Any) -> Any:
    """The value as JSON has it: dates are texts."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `config schema` prints."""
    result = _run(tmp_path_factory.mktemp("schema"), "config", "schema")
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_the_schema_accepts_the_example(schema: Any) -> None:
    """Editors find nothing wrong with the example, dates and durations included."""
    validate = fastjsonschema.compile(schema)
    validate(_plain(tomllib.loads(EXAMPLE)))
    validate(_plain(tomllib.loads("stale-if-error = '7 days'\n[[rules]]\nfreeze = 2026-08-01")))


@pytest.mark.parametrize(
    "text",
    ["prot = 1", "port = 'x'", "files = 'cach'", "[[rules]]\nmin-age = 7",
     "[[rules]]\nallow = ['a']\ndeny = ['a']", "[[rules]]\nreason = 'x'", "[sources.a]\nuser = 'x'",
     "[[rules]]\nonly = 'wheel'", "[indexes.a]\nsources = 'x'"],
)  # fmt: skip
def test_the_schema_refuses_mistakes(schema: Any, text: str) -> None:
    """Unknown keys, wrong types and values, and rules of no or two kinds are marked by editors."""
    with pytest.raises(fastjsonschema.JsonSchemaException):
        fastjsonschema.compile(schema)(tomllib.loads(text))


def test_the_schema_describes_every_key(schema: Any) -> None:
    """Each key of each table has a description, and every option is a key."""
    tables = [schema, *schema["definitions"].values()]
    for table in tables:
        for key, found in table.get("properties", {}).items():
            assert found["description"], key
    assert {option.name for option in OPTIONS} < set(schema["properties"])


# --- start ---------------------------------------------------------------------------------------


def test_a_start_without_a_file_does_not_import_the_settings_library(folder: Path) -> None:
    """The library for the file is only imported where one is used: it would delay every start."""
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"  # coverage has tomllib
        "import simple_repository_server.cli.serve, simple_repository_server.cli.settings\n"
        "sys.exit(not {'pydantic', 'tomllib'}.isdisjoint(sys.modules.keys() - before))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
