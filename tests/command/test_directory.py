"""A directory under the running command: what it keeps to itself, and what it says in doubt."""

import json
import os
import shutil
import urllib.error
import urllib.request
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from simple_repository_server.testing.distributions import build_wheel, core_metadata, zip_of
from simple_repository_server.testing.published import JSON_TYPE, publish_json
from simple_repository_server.testing.upstream import Upstream
from tests.serving import Server, comes_true, serving

NAME = "srs-fixture-private"
PRIVATE = build_wheel(NAME, "1.0")
STOLEN = build_wheel(NAME, "99.0")
METADATA = core_metadata(NAME, "1.0", requires_python=">=3.6")


@pytest.fixture
def folder(tmp_path: Path, upstream: Upstream) -> Path:
    """A directory with a wheel, whose name is on the public index, too."""
    publish_json(upstream, [STOLEN])
    path = tmp_path / "packages"
    path.mkdir()
    (path / PRIVATE.filename).write_bytes(PRIVATE.content)
    return path


def _get(url: str) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Accept": JSON_TYPE})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _page(server: Server, name: str = NAME) -> tuple[int, Any]:
    status, body = _get(f"{server.simple}{name}/")
    return status, json.loads(body)


def _file(server: Server) -> Any:
    status, page = _page(server)
    return page["files"][0] if status == 200 and page["files"] else None


def _metadata(server: Server, file: Any) -> tuple[int, str]:
    return _get(urljoin(f"{server.simple}{NAME}/", f"{file['url']}.metadata"))


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_an_emptied_directory_is_unavailable_until_somebody_says_otherwise(
    tmp_path: Path, folder: Path, upstream: Upstream
) -> None:
    """Not its private name, nor any other, is asked of the public index, also after a restart."""
    for run in range(2):
        with serving(tmp_path, folder, upstream.simple) as server:
            if run == 0:
                assert _page(server)[0] == 200
                _clear(folder)
            assert comes_true(lambda: _page(server)[0] == 503)
            detail = _page(server)[1]["detail"]
            assert str(folder) in detail
            assert ".empty" in detail
            status, ready = _get(f"{server.url}readyz")
            assert status == 200, "the other source is there"
            (directory, _) = json.loads(ready)["sources"]
            assert directory["state"] == "unavailable"
            assert "not mounted" in directory["detail"]
            assert server.logged("not mounted")
            assert server.log.count("not mounted") >= 1
            assert upstream.requests == []
            if run == 1:
                (folder / ".empty").touch()
                assert comes_true(lambda: _page(server)[0] == 200)
                assert _page(server)[1]["files"][0]["filename"] == STOLEN.filename


def test_an_empty_directory_serves_the_next_source(tmp_path: Path, upstream: Upstream) -> None:
    """One that never had anything is simply empty, at each start."""
    publish_json(upstream, [STOLEN])
    (tmp_path / "packages").mkdir()
    for _ in range(2):
        with serving(tmp_path, tmp_path / "packages", upstream.simple) as server:
            assert _file(server)["filename"] == STOLEN.filename


@pytest.mark.parametrize("what", ["empty folder", "link out", "odd file"])
def test_a_claimed_name_is_not_asked_of_the_public_index(
    tmp_path: Path, folder: Path, upstream: Upstream, what: str
) -> None:
    """A page without files, in every form; the public index does not even hear the name."""
    (folder / PRIVATE.filename).unlink()
    if what == "empty folder":
        (folder / NAME).mkdir()
    elif what == "link out":
        (tmp_path / "outside").mkdir()
        (folder / NAME).symlink_to(tmp_path / "outside")
    else:
        (folder / f"{NAME.replace('-', '_')}-1.0.whl").write_bytes(b"")
    with serving(tmp_path, folder, upstream.simple) as server:
        status, page = _page(server)
        assert (status, page["files"], page["versions"]) == (200, [], [])
        assert _get(f"{server.url}resources/{NAME}/{STOLEN.filename}")[0] == 404
    assert upstream.requests == []


def test_a_metadata_file_is_served_as_it_is(tmp_path: Path, folder: Path) -> None:
    """It is announced with its digest and Requires-Python, answers, and is no file itself."""
    sidecar = folder / f"{PRIVATE.filename}.metadata"
    with serving(tmp_path, folder) as server:
        assert _file(server)["core-metadata"] == {"sha256": PRIVATE.metadata_sha256}
        sidecar.write_bytes(METADATA)
        digest = {"sha256": sha256(METADATA).hexdigest()}
        assert comes_true(lambda: _file(server)["core-metadata"] == digest)
        file = _file(server)
        assert file["requires-python"] == ">=3.6"
        assert len(_page(server)[1]["files"]) == 1
        assert _metadata(server, file) == (200, METADATA.decode())
        assert server.logged("differs from its wheel in Requires-Python")
        sidecar.write_bytes(core_metadata(NAME, "2.0"))
        own = {"sha256": PRIVATE.metadata_sha256}
        assert comes_true(lambda: _file(server)["core-metadata"] == own)
        assert server.logged("another version, '2.0'")
        sidecar.unlink()
        assert _file(server)["core-metadata"] == own
        assert server.log.count("another version") == 1


def test_an_unreadable_wheel_is_not_announced_and_told_of(tmp_path: Path, folder: Path) -> None:
    """On its first page already: what is announced answers, and nothing else."""
    path = folder / PRIVATE.filename
    path.write_bytes(zip_of({"other-1.dist-info/METADATA": b""}))
    with serving(tmp_path, folder) as server:
        file = _file(server)
        assert "core-metadata" not in file
        assert _metadata(server, file)[0] == 404
        assert server.logged(f"no metadata for {path.name}")
        path.write_bytes(PRIVATE.content[:-50])
        assert comes_true(lambda: _file(server) is None)
        assert server.logged("still being written")
        path.write_bytes(PRIVATE.content)
        assert comes_true(lambda: _file(server) is not None)
        assert _file(server)["core-metadata"] == {"sha256": PRIVATE.metadata_sha256}


def test_a_link_that_is_turned_out_of_the_tree_is_not_served(tmp_path: Path, folder: Path) -> None:
    """At once it is refused, within a second it is gone; what it leads to is never sent."""
    (folder / "pool").mkdir()
    (folder / PRIVATE.filename).rename(folder / "pool" / "a")
    link = folder / PRIVATE.filename
    link.symlink_to("pool/a")
    (tmp_path / "secret").write_text("secret")
    with serving(tmp_path, folder) as server:
        url = f"{server.url}resources/{NAME}/{link.name}"
        assert _file(server) is not None
        (folder / "next").symlink_to(tmp_path / "secret")
        (folder / "next").replace(link)
        seen: list[tuple[int, str]] = []

        def gone() -> bool:
            seen.append(_get(url))
            return seen[-1][0] == 404

        assert comes_true(gone)
        assert {status for status, _ in seen} <= {404, 503}
        assert _page(server)[1]["files"] == []


def test_what_is_known_of_local_files_is_private(tmp_path: Path, folder: Path) -> None:
    """Nobody else on the machine reads the names of private projects there, whatever the umask."""
    before = os.umask(0o022)
    try:
        with serving(tmp_path, folder) as server:
            assert _file(server) is not None
            found = list((tmp_path / "cache").rglob("digests.sqlite*"))
            assert len(found) >= 2
            assert {path.stat().st_mode & 0o077 for path in found} == {0}
    finally:
        os.umask(before)
