"""Secrets in the addresses of sources: used where they belong, and shown nowhere."""

import http.client
import socket
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from simple_repository_server.config.load import BadSetting, load_sources
from simple_repository_server.config.settings import IndexSource
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.serving import Server, serving

WHEEL = build_wheel("foo", "1.0")
#: All that cannot stand in an address as it is.
PASSWORD = "s3cr/et@w#o?r%d:+ é"


def _get(server: Server, target: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)) as connection:
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, f"{response.headers}{response.read().decode('latin-1')}"


def _all_that_is_shown(server: Server, upstream: Upstream) -> str:
    """Everything the server says to anybody, while its index works and while it does not."""
    process = Path(f"/proc/{server.process.pid}")
    seen = [server.banner]
    for failing in (False, True):
        if failing:
            upstream.on("/simple/bar/", Reply(status=401))
            upstream.on("/simple/baz/", Reply(status=500))
            upstream.on("/simple/qux/", Reply(body=b"no page"))
        for target in ("/", "/readyz", "/simple/", "/simple/foo/", "/simple/bar/", "/simple/baz/",
                       "/simple/qux/", f"/resources/foo/{WHEEL.filename}"):  # fmt: skip
            seen.append(_get(server, target)[1])
    if process.exists():
        for pid in (server.process.pid, *server.workers):
            seen.append(Path(f"/proc/{pid}/cmdline").read_text())
    assert server.stop() == 0
    return "".join([*seen, server.log])


def _assert_unseen(secret: str, text: str) -> None:
    for spelling in (
        secret,
        quote(secret),
        quote(secret, safe=""),
        secret.split("/", maxsplit=1)[0],
    ):
        assert spelling not in text


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_password_from_a_variable(tmp_path: Path, upstream: Upstream, workers: str) -> None:
    """`${NAME}` in user and password is what the index gets, letter by letter, and nobody else."""
    publish_json(upstream, [WHEEL])
    url = upstream.simple.replace("//", "//${INDEX_USER}:${INDEX_PASSWORD}@")
    variables: Any = {"INDEX_USER": "al:ice", "INDEX_PASSWORD": PASSWORD}
    options = ("--workers", workers, "--log-level", "debug")
    with serving(tmp_path, *options, url, **variables) as server:
        assert _get(server, "/simple/foo/")[0] == 200
        seen = _all_that_is_shown(server, upstream)
    expected = f"Basic {b64encode(f'al:ice:{PASSWORD}'.encode()).decode()}"
    assert {request.headers.get("authorization") for request in upstream.requests} == {expected}
    _assert_unseen(PASSWORD, seen)
    assert f"{upstream.simple} (remote index with credentials" in seen


def test_a_secret_in_the_path(tmp_path: Path, upstream: Upstream) -> None:
    """A token that is a part of the path leads nobody there: not in a redirect, nor in an error."""
    publish_json(upstream, [WHEEL])
    secret, name = "simple", "${INDEX_TOKEN}"
    url = f"{upstream.url}/{name}/"
    options = ("--log-level", "debug", "--no-cache")
    with serving(tmp_path, *options, url, INDEX_TOKEN=secret) as server:
        assert _get(server, f"/resources/foo/{WHEEL.filename}")[0] == 200
        assert (
            f"1. {url} (remote index with credentials, files through this server" in server.banner
        )
        seen = _all_that_is_shown(server, upstream)
    assert f"{upstream.url}/{secret}" not in seen
    assert f"{upstream.url}/{name}" in seen


def test_a_whole_address_from_a_variable(tmp_path: Path, upstream: Upstream) -> None:
    """A source may be one variable, with credentials and all: it is shown by its name."""
    publish_json(upstream, [WHEEL])
    address = upstream.simple.replace("//", "//alice:secretword@")
    with serving(tmp_path, "${THE_INDEX}", THE_INDEX=address) as server:
        assert _get(server, "/simple/foo/")[0] == 200
        assert "1. ${THE_INDEX} (remote index with credentials" in server.banner
        assert "secretword" not in _all_that_is_shown(server, upstream)


def test_sources_in_a_variable_may_have_variables(tmp_path: Path, upstream: Upstream) -> None:
    """`SRS_SOURCES` is read like arguments are."""
    publish_json(upstream, [WHEEL])
    url = upstream.simple.replace("//", "//${INDEX_USER}@")
    with serving(tmp_path, SRS_SOURCES=url, INDEX_USER="token") as server:
        assert _get(server, "/simple/foo/")[0] == 200
    assert upstream.requests[-1].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("text", "url", "user", "password"),
    [
        ("https://${U}:${P}@h.example/simple/", "https://h.example/simple/", "u@x", "p/w"),
        ("https://a${U}b@h.example/", "https://h.example/", "au@xb", ""),
        ("https://${H}:${N}/${D}/simple/", "https://h.example:8443/a/b/simple/", None, None),
        ("${S}://h.example/", "https://h.example/", None, None),
        ("https://u:$P@h.example/", "https://h.example/", "u", "$P"),
        ("https://u:%24{P}@h.example/", "https://h.example/", "u", "${P}"),
    ],
)
def test_where_variables_are_replaced(
    text: str, url: str, user: str | None, password: str | None
) -> None:
    """In any part of an address, encoded in user and password; nothing but `${NAME}` is touched."""
    variables: Any = {
        "U": "u@x",
        "P": "p/w",
        "H": "h.example",
        "N": "8443",
        "D": "a/b",
        "S": "https",
    }
    (source,) = load_sources([text], environment=variables)
    assert isinstance(source, IndexSource)
    assert (source.url, source.user, source.password) == (url, user, password)
    assert "h.example" in repr(source) or "${H}" in repr(source)


@pytest.mark.parametrize(
    "text", ["https://h.example/${V}/", "https://${V}.example/", "https://h.example:${V}/", "${V}/"]
)
@pytest.mark.parametrize("value", ["a/secret@b", "secret\n", "a secret?", ""])
def test_a_value_that_cannot_be_is_not_shown(text: str, value: str) -> None:
    """What a variable has in it is in no refusal."""
    with pytest.raises(BadSetting) as refused:
        load_sources([text], environment={"V": value})
    assert "secret" not in str(refused.value)
    assert "SOURCE" in str(refused.value) or "${V}" in str(refused.value)


@pytest.mark.parametrize(
    "value", ["https://[secret", "https://a:secret", "ftp://secret", "http:secret"]
)
def test_an_address_that_cannot_be_is_not_shown(value: str) -> None:
    """Nor is anything of an address that is a variable as a whole."""
    with pytest.raises(BadSetting) as refused:
        load_sources(["${V}"], environment={"V": value})
    assert str(refused.value).startswith("${V} is not a valid URL of a simple index")
    assert "secret" not in str(refused.value)


def test_paths_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory may be called as it likes: variables are of addresses alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "${HOME}").mkdir()
    (source,) = load_sources(["./${HOME}"], environment={"HOME": "x"})
    assert str(source.shown) == "${HOME}"


def test_a_refused_start_does_not_listen(tmp_path: Path) -> None:
    """A source that cannot be is refused before anything is opened."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AssertionError) as failed:
        port = str(taken.getsockname()[1])
        with serving(tmp_path, "--port", port, "https://${SRS_TEST_UNSET}@h.example/"):
            pass
    assert "SRS_TEST_UNSET is not set" in str(failed.value)
