"""Metadata as the running command serves it: what is announced is there, and faults pass."""

import json
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import JSON_TYPE, publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.serving import Server, serving

WHEEL = build_wheel("foo", "1.0", requires=["bar>=2"])
PLACE = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"


def _get(server: Server, path: str) -> tuple[int, bytes]:
    try:
        with urlopen(Request(server.url + path, headers={"Accept": JSON_TYPE})) as response:
            return response.status, response.read()
    except HTTPError as error:
        return error.code, error.read()


def _metadata(server: Server, filename: str = WHEEL.filename) -> tuple[int, bytes]:
    return _get(server, f"resources/foo/{quote(filename)}.metadata")


def _announced(server: Server, filename: str = WHEEL.filename) -> object:
    files = json.loads(_get(server, "simple/foo/")[1])["files"]
    return next(f.get("core-metadata", False) for f in files if f["filename"] == filename)


@pytest.mark.parametrize("hashes", [True, False])
def test_error_page_instead_of_a_wheel_is_not_cached(
    upstream: Upstream, tmp_path: Path, *, hashes: bool
) -> None:
    """Status 200 with an error page is answered with 503 and stores nothing."""
    publish_html(upstream, [WHEEL], hashes=hashes)
    upstream.on(PLACE, Reply(body=b"<html>Please log in.</html>", ranges=True))
    with serving(tmp_path, upstream.simple) as server:
        assert _metadata(server)[0] == 503
        assert _metadata(server)[0] == 503
        assert _announced(server) is False
        assert server.logged(f"no metadata for {WHEEL.filename}")
    upstream.on(PLACE, Reply(body=WHEEL.content, ranges=True))
    with serving(tmp_path, upstream.simple) as server:
        assert _announced(server)
        assert _metadata(server) == (200, WHEEL.metadata)


def test_metadata_of_a_removed_wheel_is_not_announced(upstream: Upstream, tmp_path: Path) -> None:
    """After its metadata was 404, the page does not announce it."""
    publish_json(upstream, [WHEEL], metadata=False, max_age=600)
    upstream.on(PLACE, Reply(status=410))
    with serving(tmp_path, upstream.simple) as server:
        assert _announced(server) is True
        assert _metadata(server)[0] == 404
        assert _announced(server) is False


@pytest.mark.parametrize("length", [246, 247, 255])
def test_local_wheel_with_the_longest_name_has_metadata(tmp_path: Path, length: int) -> None:
    """A file name of the maximum length, which leaves none for a sibling file, has metadata."""
    tag = "t" * (length - len("foo-1.0-py3--any.whl"))
    name = f"foo-1.0-py3-{tag}-any.whl"
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / name).write_bytes(WHEEL.content)
    with serving(tmp_path, tmp_path / "packages") as server:
        assert _announced(server, name) == {"sha256": WHEEL.metadata_sha256}
        assert _metadata(server, name) == (200, WHEEL.metadata)
