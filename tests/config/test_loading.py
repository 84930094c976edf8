"""Loading settings again, as a running server does, with the same arguments."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

from simple_repository_server.cli.given import Given, given_by
from simple_repository_server.cli.serve import command
from simple_repository_server.cli.settings import load_settings
from simple_repository_server.config.load import BadSetting
from simple_repository_server.config.mistakes import Mistakes
from simple_repository_server.config.settings import IndexSource
from tests.config.files import write


def _given(*arguments: object) -> Given:
    with command.make_context("srs", list(map(str, arguments))) as context:
        return given_by(context)


def test_the_file_is_read_again_at_each_call(tmp_path: Path) -> None:
    """Changes of the file arrive, flags stay above it, and mistakes leave the caller with both."""
    path = write(tmp_path, "workers = 2\nport = 1\n[sources.a]\npath = 'packages'")
    given = _given("--config", path, "--port", 7)
    first = load_settings(given, {})
    assert (first.workers, first.port, first.config) == (2, 7, path)
    write(tmp_path, "workers = 3\n[sources.a]\npath = 'packages'\n[indexes.x]")
    second = load_settings(given, {})
    assert (second.workers, second.port) == (3, 7)
    assert [index.name for index in second.indexes] == ["x"]
    write(tmp_path, "workers = 0\n[sources.a]\npath = 'gone'")
    with pytest.raises(Mistakes) as caught:
        load_settings(given, {})
    assert [one.line for one in caught.value.mistakes] == [1, 3]
    assert msgspec.structs.asdict(first)["workers"] == 2


def test_settings_that_did_not_change_are_equal(tmp_path: Path) -> None:
    """The same file gives equal sources and rules: what is unchanged can be recognised."""
    text = "[sources.a]\nurl = 'https://u:${T}@a.example/'\nstale-if-error = '1 day'\n[[rules]]\n"
    path = write(tmp_path, f"{text}deny = ['x']")
    given = _given("--config", path)
    environment = {"T": "x", "HOME": str(tmp_path)}
    first, second = load_settings(given, environment), load_settings(given, environment)
    assert first == second
    assert first is not second


def test_egress_of_a_source_adds_to_that_of_all(tmp_path: Path) -> None:
    """A proxy of its own replaces the common one; authorities are added."""
    path = write(
        tmp_path,
        "proxy = 'http://common.example:1'\n"
        "[sources.a]\nurl = 'https://a.example/'\nproxy = 'none'\n"
        "[sources.b]\nurl = 'https://b.example/'\n",
    )
    settings = load_settings(_given("--config", path), {"HOME": str(tmp_path)})
    a, b = settings.sources
    assert isinstance(a, IndexSource)
    assert isinstance(b, IndexSource)
    assert a.egress is not None
    assert a.egress.proxies.for_url("https://a.example/") is None
    assert b.egress is None
    assert str(settings.egress.proxies.for_url("https://b.example/")) == "http://common.example:1"


def test_without_a_file_the_first_mistake_is_one_line(tmp_path: Path) -> None:
    """Arguments alone are refused as before."""
    with pytest.raises(BadSetting) as caught:
        load_settings(_given("--config", "none", "--memory", "lots", tmp_path), {})
    assert not isinstance(caught.value, Mistakes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "named"), [(["--memory", "lots"], "--memory"), ([], "memory")]
)
def test_all_is_reported_together(tmp_path: Path, arguments: list[str], named: str) -> None:
    """Mistakes of arguments stand beside those of the file."""
    path = write(tmp_path, "workers = 0\nmemory = '1 MB'")
    with pytest.raises(Mistakes) as caught:
        load_settings(_given("--config", path, *arguments), {})
    texts: list[Any] = [str(one) for one in caught.value.mistakes]
    assert len(texts) == 2
    assert any(named in text for text in texts)
    assert any("workers" in text for text in texts)


def test_none_is_no_file(tmp_path: Path) -> None:
    """`--config none` uses no file, whatever is in the working directory."""
    assert _given("--config", "none").config is None
    assert _given("--config", tmp_path / "x").config == tmp_path / "x"


def test_settings_differ_once_a_certificate_does(tmp_path: Path) -> None:
    """Authorities with other content under the same name make a reload connect anew."""
    authorities = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(authorities))
    text = f"[sources.a]\nurl = 'https://a.example/'\nca-file = '{authorities}'"
    given = _given("--config", write(tmp_path, text))
    before = load_settings(given, {"HOME": str(tmp_path)})
    assert load_settings(given, {"HOME": str(tmp_path)}) == before
    authorities.write_text(authorities.read_text() + "\n")
    assert load_settings(given, {"HOME": str(tmp_path)}) != before
