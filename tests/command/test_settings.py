"""The settings of the command: options, variables, invalid values, and how they are shown."""

import http.client
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
from docs import generate

from simple_repository_server.cli.cache import cache as cache_group
from simple_repository_server.cli.serve import command
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from tests.serving import Server, serving

WHEEL = build_wheel("foo", "1.0")


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simple_repository_server", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def _get(server: Server, target: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)) as connection:
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, response.read()


def _packages(tmp_path: Path, name: str = "packages") -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / WHEEL.filename).write_bytes(WHEEL.content)
    return folder


# --- invalid input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--no-such-option"], "no-such-option"),
        (["--port", "65536", "."], "65536"),
        (["--port", "eighty", "."], "eighty"),
        (["--log-level", "loud", "."], "loud"),
        (["--max-connections", "0", "."], "max-connections"),
        (["--max-connections", "2000000000", "."], "ulimit"),
        (["--shutdown-timeout", "-1", "."], "shutdown-timeout"),
        (["--small-files", "few", "."], "--small-files 'few'"),
        (["--cache-size", "lots", "."], "--cache-size 'lots'"),
        (["no/such/directory"], "no/such/directory"),
        (["pyproject.toml"], "is not a directory"),
        (["http://"], "http://"),
        ([""], "empty"),
        (["https://ho st.example/simple/"], "ho st.example"),
        (["https://user:secret#1@host.example/simple/"], "%23"),
        (["https://user:secret?1@host.example/simple/"], "%3F"),
        (["no\nsuch\x1b[31m"], "no�such"),
        (["https://user:secret@[broken/simple/"], "URL"),
        (["ftp://host.example/simple/"], "ftp"),
        (["https://host.example/simple/?x=1"], "'?'"),
        (["--forbidden-means-absent", "https://other.example/", "."], "other.example"),
        (["--forbidden-means-absent", "https://u:secret@other.example/", "."], "not a SOURCE"),
        (["https://user:se/cret@host.example/simple/"], "%2F"),
        (["https://user:12/secret@host.example/simple/"], "SOURCE 1"),
        (["https://user:se@cret/secret@host.example/simple/"], "%40"),
        ([".", "https://user:secret/simple/"], "SOURCE 2"),
        (["https://user:secret"], "SOURCE 1"),
        (["https:user:secret@host.example"], "SOURCE 1"),
        (["https:///user:secret/"], "SOURCE 1"),
        (["https://host.example/simple/?token=secret"], "SOURCE 1"),
        (["https://host.example/simple/#secret"], "SOURCE 1"),
        (["https://user:secret@host.example:port/"], "SOURCE 1"),
        (["https://user:secret@ho\uff0fst.example/"], "SOURCE 1"),
        (["https://user:secret@host.example/ simple/"], "SOURCE 1"),
        (["user:secret@host.example/simple/"], "SOURCE 1"),
        (["//user:secret@host.example/simple/"], "SOURCE 1"),
        (["https//user:secret@host.example/simple/"], "SOURCE 1"),
        (["no/such/director@y"], "SOURCE 1"),
        (["./no/such/director@y"], "./no/such/director@y"),
        (["https://${SRS_TEST_UNSET}@host.example/simple/"], "SRS_TEST_UNSET is not set"),
        (["${SRS_TEST_UNSET}/simple/"], "SRS_TEST_UNSET is not set"),
        ([".", "./"], "is the same as SOURCE 1"),
        (["tests", "tests/../tests"], "is the same as SOURCE 1"),
        (["pypi", "pypi"], "is the same as SOURCE 1"),
        (["http://a.example/simple", "http://A.example:80/x/../simple/"], "the same as SOURCE 1"),
        (["http://u:secret@a.example/%7Eb/", "http://u:secret@a.example/~b"], "SOURCE 1"),
        (["--allowed-host", "http://a.example", "."], "without scheme"),
        (["--allowed-host", "a.example:80", "."], "without scheme"),
        (["--forwarded-allow-ips", "proxy.example", "."], "proxy.example"),
        (["--forwarded-allow-ips", "10.0.0.1 10.0.0.2", "."], "commas"),
        (["--memory", "256", "."], "256 B"),
        (["--memory", "lots", "."], "--memory 'lots'"),
        (["--cache-size", "-1", "."], "--cache-size '-1'"),
        (["--cache-size", "10XB", "."], "--cache-size '10XB'"),
        (["--cache-size", "9" * 30 + "TB", "."], "larger than any disk"),
        (["--offline", "--no-cache", "."], "--offline and --no-cache"),
        (["--files", "cache", "--no-cache", "."], "--files cache and --no-cache"),
        (["--host", "192.0.2.1", "--port", "0", "."], "192.0.2.1"),
        (["--host", "not a host", "--port", "0", "."], "not a host"),
        (["--host", "", "--port", "0", "."], "''"),
        (["--host", "host..example", "--port", "0", "."], "host..example"),
    ],
)
def test_invalid_input_is_rejected_in_one_line(arguments: list[str], text: str) -> None:
    """Invalid input ends with status 2 and one line that names it, without secrets or traceback."""
    result = _run(*arguments)
    assert result.returncode == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert "secret" not in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["info", "--cache-size", "much"], "--cache-size 'much'"),
        (["prune", "--unused-for", "long"], "--unused-for"),
        (["info", "--nope"], "cache info --help"),
    ],
)
def test_invalid_input_of_a_sub_command_is_rejected_in_one_line(
    arguments: list[str], text: str
) -> None:
    """Sub-commands reject invalid input as the server does."""
    result = _run("cache", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert text in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_same_index_with_other_credentials_is_another_source(
    tmp_path: Path, upstream: Upstream
) -> None:
    """An index may be given twice with different credentials, as its content may differ."""
    again = upstream.simple.replace("//", "//alice:secret@")
    with serving(tmp_path, upstream.simple, again) as server:
        assert _get(server, "/healthz")[0] == 200


# --- variables -----------------------------------------------------------------------------------


def _options(command: click.Command) -> list[click.Option]:
    return [p for p in command.params if isinstance(p, click.Option) and p.expose_value]


@pytest.mark.parametrize(
    "command",
    [command, *cache_group.commands.values()],
    ids=lambda command: str(command.name),
)
def test_every_option_has_an_environment_variable(command: click.Command) -> None:
    """Each option has an `SRS_…` variable of its own name, which its help shows."""
    with click.Context(command) as context:
        text = re.sub(r"\s+", " ", command.get_help(context))
    assert _options(command)
    for option in _options(command):
        variable = f"SRS_{max(option.opts, key=len)[2:].upper().replace('-', '_')}"
        assert option.envvar == variable
        assert f"env var: {variable}" in text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SRS_MEMORY", "lots"), ("SRS_CACHE_SIZE", "10"), ("SRS_SMALL_FILES", "x"),
        ("SRS_ALLOWED_HOST", "http://a"), ("SRS_FORWARDED_ALLOW_IPS", "a.b"), ("SRS_PORT", "x"),
        ("SRS_NO_CACHE", "maybe"), ("SRS_PROXY", "foo://"), ("SRS_CA_FILE", "/nope"),
        ("SRS_FORBIDDEN_MEANS_ABSENT", "x"), ("SRS_HOST", "192.0.2.1"),
    ],
)  # fmt: skip
def test_invalid_variable_is_named_in_the_error(variable: str, value: str) -> None:
    """The line on stderr names the variable, as no option was given."""
    sources = ["http://127.0.0.1:9/simple/"]
    if variable == "SRS_FORBIDDEN_MEANS_ABSENT":
        sources.append(".")
    result = _run(*sources, **{variable: value})
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert variable in result.stderr


def test_sources_and_options_can_be_environment_variables(
    tmp_path: Path, upstream: Upstream
) -> None:
    """Sources and options are read from variables; several values are separated by spaces."""
    publish_json(upstream, [build_wheel("bar", "1.0")])
    folder = _packages(tmp_path)
    variables: Any = {
        "SRS_SOURCES": f"{folder}  {upstream.simple}",
        "SRS_WORKERS": "2",
        "SRS_LOG_FORMAT": "json",
        "SRS_CACHE_SIZE": "5MB",
        "SRS_ALLOWED_HOST": "a.example b.example",
        "SRS_STREAM_HTTP_RESOURCES": "true",
        # `--version` and `--help` have no variables; deployments may use these names.
        "SRS_VERSION": "1",
        "SRS_HELP": "1",
    }
    with serving(tmp_path, **variables) as server:
        assert f"1. {folder} (directory)" in server.banner
        assert f"2. {upstream.simple} (remote index, files through this server)" in server.banner
        assert "(up to 5.0 MB)" in server.banner
        assert server.logged('"workers":2')
        for target in ("/simple/foo/", "/simple/bar/"):
            assert _get(server, target)[0] == 200


def test_arguments_take_precedence_over_variables(tmp_path: Path) -> None:
    """A value on the command line is used, whatever the variables contain."""
    folder = _packages(tmp_path)
    variables: Any = {
        "SRS_SOURCES": "/no/such/directory",
        "SRS_LOG_LEVEL": "loud",
        "SRS_WORKERS": "",
    }
    with serving(tmp_path, "--log-level", "info", folder, **variables) as server:
        assert _get(server, "/simple/foo/")[0] == 200


def test_invalid_variable_is_rejected_in_one_line() -> None:
    """One line on stderr names the variable."""
    result = _run(".", SRS_PORT="eighty")
    assert result.returncode == 2
    assert "SRS_PORT" in result.stderr
    assert result.stderr.count("\n") == 1


def test_sub_commands_read_the_same_variables(tmp_path: Path) -> None:
    """`SRS_CACHE_DIR` is the cache of the server and of the `cache` sub-commands."""
    result = _run("cache", "info", SRS_CACHE_DIR=str(tmp_path / "elsewhere"))
    assert result.returncode == 0
    assert str(tmp_path / "elsewhere") in result.stdout


def test_documented_options_are_those_of_the_command() -> None:
    """The table of options in the documentation is the one that the code generates."""
    text = generate.DOCUMENT.read_text()
    assert text == generate.generated(text), "run: python -m docs.generate"
    rows = re.findall(r"^\| `(--[a-z-]+)", generate.options(), re.MULTILINE)
    assert {max(option.opts, key=len) for option in _options(command)} < set(rows)


# --- sizes, and what is written ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [("2000000", "2.0 MB"), ("2MB", "2.0 MB"), ("1GiB", "1.1 GB"), ("1.5 TB", "1.5 TB")],
)
def test_start_message_shows_the_cache_size(tmp_path: Path, given: str, shown: str) -> None:
    """A number without a unit is bytes; any size is shown in powers of 1000."""
    with serving(tmp_path, "--cache-size", given, _packages(tmp_path)) as server:
        assert f"(up to {shown})" in server.banner


def test_no_cache_writes_nothing_to_disk(tmp_path: Path, upstream: Upstream) -> None:
    """With `--no-cache` no file is created in the user's folders, as the start message states."""
    publish_json(upstream, [build_wheel("bar", "1.0")])
    folder, home = _packages(tmp_path), tmp_path / "somebody"
    home.mkdir()
    variables: Any = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home)}
    with serving(tmp_path, "--no-cache", folder, upstream.simple, **variables) as server:
        assert "nothing is written to disk" in server.banner
        for target in ("/simple/foo/", "/simple/bar/", f"/resources/foo/{WHEEL.filename}"):
            assert _get(server, target)[0] == 200
        assert server.stop() == 0
    assert list(home.rglob("*")) == []


def test_start_message_offline_names_the_cache(tmp_path: Path, upstream: Upstream) -> None:
    """Offline, the start message states that files come from the cache, not by redirect."""
    with serving(tmp_path, "--offline", upstream.simple) as server:
        assert f"{upstream.simple} (remote index, files from the cache)" in server.banner
        assert "redirect" not in server.banner


def test_start_message_shows_an_address_reachable_by_others(tmp_path: Path) -> None:
    """On all addresses, the lines to copy contain an address of this machine."""
    with serving(tmp_path, "--host", "0.0.0.0", _packages(tmp_path)) as server:
        assert "0.0.0.0" not in server.banner
        assert _get(server, "/simple/foo/")[0] == 200
        host = urlsplit(server.url).hostname
        trusted = f" --trusted-host {host}" if host != "127.0.0.1" else ""
        assert f"pip install --index-url {server.simple} PROJECT{trusted}\n" in server.banner
