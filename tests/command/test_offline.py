"""The command without its indexes: offline, after a token was revoked, after a refresh by hand."""

import json
import os
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request as Call
from urllib.request import urlopen

import pytest

from simple_repository_server.disk.projects import refresh
from simple_repository_server.names import ProjectName
from simple_repository_server.testing.distributions import Built, build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream
from tests.serving import Server, comes_true, serving

JSON = "application/vnd.pypi.simple.v1+json"
PRIVATE, PUBLIC = build_wheel("foo", "1.0"), build_wheel("foo", "99.0")
BAR, BAZ = [build_wheel("bar", f"{version}.0") for version in (1, 2)], build_wheel("baz", "1.0")


@pytest.fixture
def public() -> Iterator[Upstream]:
    """Another upstream, with the second priority."""
    with Upstream() as server:
        yield server


def _get(url: str) -> tuple[int, bytes]:
    """Status and body, as JSON where there is a choice."""
    try:
        with urlopen(Call(url, headers={"Accept": f"{JSON}, */*;q=0.1"}), timeout=30) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def _files(server: Server, project: str) -> list[str]:
    status, body = _get(f"{server.simple}{project}/")
    assert status == 200, body
    return [file["filename"] for file in json.loads(body)["files"]]


def _detail(server: Server, path: str) -> tuple[int, str]:
    status, body = _get(f"{server.url}{path}")
    return status, body.decode()


def _is_kept(folder: Path, *files: Built) -> bool:
    """Whether the files are in the cache: they come there while they are sent."""
    places = [folder / "files" / one.sha256[:2] / one.sha256[2:] for one in files]
    return all(place.exists() for place in places)


@pytest.mark.parametrize("mode", ["redirect", "stream", "cache"])
def test_offline_serves_what_the_cache_knows(
    upstream: Upstream, public: Upstream, tmp_path: Path, mode: str
) -> None:
    """Cached files and projects with a known owner are served; the unknown is 503 with a reason."""
    publish_json(upstream, [PRIVATE])
    publish_json(public, [PUBLIC, *BAR, BAZ])
    kept = ("--files", "cache", "--cache-dir", tmp_path / "kept")
    with serving(tmp_path, *kept, public.simple) as server:
        for built in (PUBLIC, BAZ):
            project = built.filename.partition("-")[0]
            assert _files(server, project)
            assert _get(f"{server.url}resources/{project}/{built.filename}")[0] == 200
        assert comes_true(lambda: _is_kept(tmp_path / "kept", PUBLIC, BAZ))
    with serving(tmp_path, *kept, upstream.simple, public.simple) as server:
        assert _files(server, "foo") == [PRIVATE.filename]
        assert len(_files(server, "bar")) == 2
        assert _get(f"{server.url}resources/bar/{BAR[0].filename}") == (200, BAR[0].content)
        assert _detail(server, "simple/nowhere/")[0] == 404
        assert comes_true(lambda: _is_kept(tmp_path / "kept", BAR[0]))
    for gone in (upstream, public):
        gone.forget()
        gone.refuse()
    arguments = ("--offline", "--files", mode, "--cache-dir", tmp_path / "kept")
    with serving(tmp_path, *arguments, upstream.simple, public.simple) as server:
        assert "Offline: only the cache is served" in server.banner
        assert f"1. {upstream.simple} (remote index, files from the cache)" in server.banner
        assert _files(server, "foo") == [], "the first source has it, and none of its files is kept"
        assert _files(server, "bar") == [BAR[0].filename]
        assert _get(f"{server.url}resources/bar/{BAR[0].filename}") == (200, BAR[0].content)
        status, text = _detail(server, f"resources/bar/{BAR[1].filename}")
        assert status == 404
        assert "is not in the cache, and this server is offline" in text
        status, text = _detail(server, f"resources/foo/{PUBLIC.filename}")
        assert status == 404
        assert _detail(server, "simple/nowhere/")[0] == 404, "neither had it"
        for path in ("simple/baz/", "simple/never-asked/", f"resources/baz/{BAZ.filename}"):
            status, text = _detail(server, path)
            assert status == 503
            assert upstream.simple in text
            assert "offline" in text
            assert "run it without --offline and request that project once" in text
        names = json.loads(_get(server.simple)[1])["projects"]
        assert {"name": "bar"} in names
    assert not upstream.requests
    assert not public.requests


def test_offline_evicts_nothing(upstream: Upstream, tmp_path: Path) -> None:
    """Nothing is evicted offline, even if the budget is smaller than before."""
    wheels = [
        build_wheel("foo", f"{number}.0", files={"d": os.urandom(900_000)}, compressed=False)
        for number in range(3)
    ]
    publish_json(upstream, wheels)
    kept = ("--files", "cache", "--cache-dir", tmp_path / "kept")
    with serving(tmp_path, *kept, upstream.simple) as server:
        for wheel in wheels:
            assert _get(f"{server.url}resources/foo/{wheel.filename}")[0] == 200
    left = tmp_path / "kept" / "partial" / "left.partial"
    left.write_bytes(b"half")
    for path in (tmp_path / "kept").rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    small = (*kept, "--offline", "--cache-size", "1MB", "--log-level", "debug")
    with serving(tmp_path, *small, upstream.simple) as server:
        assert comes_true(lambda: not left.exists()), "room was looked for"
        assert len(_files(server, "foo")) == 3
        for wheel in wheels:
            assert _get(f"{server.url}resources/foo/{wheel.filename}") == (200, wheel.content)


def _with_token(upstream: Upstream, token: str) -> str:
    return upstream.simple.replace("//", f"//__token__:{token}@")


def _for_tokens(valid: set[str], body: bytes, request: Request) -> Reply:
    """The answer with that body to whoever has a valid token."""
    if request.headers.get("authorization") not in valid:
        return Reply(status=401)
    return Reply(headers={"Content-Type": JSON, "Cache-Control": "max-age=0"}, body=body)


def test_revoked_token_gets_nothing_from_the_cache(
    upstream: Upstream, public: Upstream, tmp_path: Path
) -> None:
    """Neither stale, in an outage, after a restart nor offline is anything served to it."""
    publish_json(upstream, [PRIVATE], max_age=0)
    publish_json(public, [PUBLIC])
    valid = {"Basic " + b64encode(b"__token__:" + token).decode() for token in (b"one", b"two")}
    for target in ("/simple/", "/simple/foo/"):
        upstream.on(target, partial(_for_tokens, valid, _get(f"{upstream.url}{target}")[1]))
    kept = ("--cache-dir", tmp_path / "kept")
    one = (*kept, _with_token(upstream, "one"), public.simple)
    with serving(tmp_path, *one) as server:
        assert _files(server, "foo") == [PRIVATE.filename]
        assert _get(server.simple)[0] == 200
    with serving(tmp_path, *kept, _with_token(upstream, "two"), public.simple) as server:
        assert _files(server, "foo") == [PRIVATE.filename]
        valid.clear()
        for _ in range(2):
            status, text = _detail(server, "simple/foo/")
            assert (status, "refuses us (status 401)" in text) == (503, True)
        assert server.logged("it refuses us (status 401)")
        upstream.refuse()
        assert _detail(server, "simple/foo/")[0] == 503
    with serving(tmp_path, *kept, _with_token(upstream, "two"), public.simple) as server:
        assert _detail(server, "simple/foo/")[0] == 503
    offline = (*kept, "--offline")
    with serving(tmp_path, *offline, _with_token(upstream, "two"), public.simple) as server:
        status, text = _detail(server, "simple/foo/")
        assert (status, "offline" in text) == (503, True)
    with serving(tmp_path, *offline, _with_token(upstream, "three"), public.simple) as server:
        assert _detail(server, "simple/foo/")[0] == 503
    with serving(tmp_path, *offline, _with_token(upstream, "one"), public.simple) as server:
        assert _files(server, "foo") == [], "who was never refused keeps what it saw"
    names = " ".join(map(str, (tmp_path / "kept").rglob("*")))
    assert not re.search("one|two|three|token", names.replace(str(tmp_path), ""))


def test_refreshed_project_is_fetched_again_by_all_workers(
    upstream: Upstream, tmp_path: Path
) -> None:
    """Each worker revalidates it within seconds, even if it has it in memory."""
    publish_json(upstream, BAR[:1], max_age=600)
    arguments = ("--workers", "2", "--cache-dir", tmp_path / "kept", upstream.simple)
    with serving(tmp_path, *arguments) as server:
        for _ in range(20):
            assert len(_files(server, "bar")) == 1
        publish_json(upstream, BAR, max_age=600)
        assert comes_true(lambda: refresh(tmp_path / "kept", ProjectName("bar")) == 1)
        time.sleep(2)
        assert {len(_files(server, "bar")) for _ in range(20)} == {2}
