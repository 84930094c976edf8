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
def test_password_from_a_variable_is_sent_only_to_the_index(
    tmp_path: Path, upstream: Upstream, workers: str
) -> None:
    """The index gets the exact value of `${NAME}` in user and password; nobody else does."""
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


def test_secret_in_the_path_is_never_shown(tmp_path: Path, upstream: Upstream) -> None:
    """A token in the path appears neither in redirects nor in errors."""
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


def test_url_from_a_variable_is_shown_by_its_name(tmp_path: Path, upstream: Upstream) -> None:
    """A source may be a single variable with a whole URL, and is shown by its name."""
    publish_json(upstream, [WHEEL])
    address = upstream.simple.replace("//", "//alice:secretword@")
    with serving(tmp_path, "${THE_INDEX}", THE_INDEX=address) as server:
        assert _get(server, "/simple/foo/")[0] == 200
        assert "1. ${THE_INDEX} (remote index with credentials" in server.banner
        assert "secretword" not in _all_that_is_shown(server, upstream)


def test_variables_are_replaced_in_srs_sources(tmp_path: Path, upstream: Upstream) -> None:
    """`SRS_SOURCES` is evaluated as arguments are."""
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
def test_variables_are_replaced_in_every_part_of_a_url(
    text: str, url: str, user: str | None, password: str | None
) -> None:
    """`${NAME}` is replaced anywhere, encoded in user and password; nothing else is changed."""
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
def test_invalid_value_of_a_variable_is_not_shown(text: str, value: str) -> None:
    """An error never contains the value of a variable."""
    with pytest.raises(BadSetting) as refused:
        load_sources([text], environment={"V": value})
    assert "secret" not in str(refused.value)
    assert "SOURCE" in str(refused.value) or "${V}" in str(refused.value)


@pytest.mark.parametrize(
    "value", ["https://[secret", "https://a:secret", "ftp://secret", "http:secret"]
)
def test_invalid_url_from_a_variable_is_not_shown(value: str) -> None:
    """An error contains nothing of a URL that comes from a variable."""
    with pytest.raises(BadSetting) as refused:
        load_sources(["${V}"], environment={"V": value})
    assert str(refused.value).startswith("${V} is not a valid URL of a simple index")
    assert "secret" not in str(refused.value)


def test_variables_are_not_replaced_in_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`${NAME}` in the path of a directory is taken literally."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "${HOME}").mkdir()
    (source,) = load_sources(["./${HOME}"], environment={"HOME": "x"})
    assert str(source.shown) == "${HOME}"


def test_invalid_source_is_rejected_before_the_port_is_opened(tmp_path: Path) -> None:
    """Sources are validated before the server listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AssertionError) as failed:
        port = str(taken.getsockname()[1])
        with serving(tmp_path, "--port", port, "https://${SRS_TEST_UNSET}@h.example/"):
            pass
    assert "SRS_TEST_UNSET is not set" in str(failed.value)
