"""Files of the cache removed, replaced and truncated while they are served: clients do not notice.

What was checked is what is sent, what is gone is fetched again, and the log states what was sent.
"""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from simple_repository_server.testing.distributions import Built, build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.serving import Server, comes_true, serving
from tests.web.served_app import served

SMALL = build_wheel("small", "1.0", files={"d": os.urandom(20_000)}, compressed=False)
LARGE = build_wheel("large", "1.0", files={"d": os.urandom(900_000)}, compressed=False)
BOTH = [SMALL, LARGE]


def _target(built: Built) -> str:
    return f"/resources/{built.filename.partition('-')[0]}/{built.filename}"


def _source(built: Built) -> str:
    return f"/files/{built.sha256[:2]}/{built.filename}"


def _get(url: str, built: Built) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", _target(built))
        response = connection.getresponse()
        return response.status, response.read()


def _path(folder: Path, built: Built) -> Path:
    return folder / "files" / built.sha256[:2] / built.sha256[2:]


def _is_cached(folder: Path, built: Built) -> bool:
    path = _path(folder, built)
    return path.is_file() and path.read_bytes() == built.content


def _requests(server: Server) -> list[tuple[int, int]]:
    """Status and bytes of each request for a file, as the log has them."""
    lines = [json.loads(line) for line in server.log.splitlines()]
    requested = [line for line in lines if line.get("path", "").startswith("/resources/")]
    return [(line["status"], line["bytes"]) for line in requested]


def _cleared(folder: Path, _: Built) -> None:
    command = [sys.executable, "-m", "simple_repository_server", "cache", "clear", "--yes"]
    subprocess.run([*command, "--cache-dir", folder], check=True, capture_output=True, timeout=30)


def _removed(folder: Path, built: Built) -> None:
    _path(folder, built).unlink()


def _replaced(folder: Path, built: Built) -> None:
    other = folder / "other"
    other.write_bytes(bytes(len(built.content)))
    other.replace(_path(folder, built))


def _overwritten(folder: Path, built: Built) -> None:
    _path(folder, built).write_bytes(bytes(len(built.content)))


def _truncated(folder: Path, built: Built) -> None:
    os.truncate(_path(folder, built), 100)


def _a_folder_instead(folder: Path, built: Built) -> None:
    _removed(folder, built)
    _path(folder, built).mkdir()


HARMS = [_cleared, _removed, _replaced, _overwritten, _truncated, _a_folder_instead]


@pytest.mark.parametrize("harm", HARMS)
def test_clients_do_not_notice_changes_to_cached_files(
    upstream: Upstream, tmp_path: Path, harm: Callable[[Path, Built], None]
) -> None:
    """The server answers with the right bytes each time, and logs just these."""
    publish_json(upstream, BOTH, metadata=False, max_age=600)
    folder = tmp_path / "index"
    arguments = ("--log-format", "json", "--files", "cache", "--cache-dir", folder, upstream.simple)
    with serving(tmp_path, *arguments) as server:
        requested: list[Built] = []

        def is_right(built: Built) -> bool:
            requested.append(built)
            assert _get(server.url, built) == (200, built.content)
            return _is_cached(folder, built)

        for built in BOTH:
            # At once, while it is held open or in memory, and when that is over.
            for wait_s in (0.0, 6.5):
                assert comes_true(lambda: is_right(built))  # noqa: B023 - called in this turn
                harm(folder, built)
                is_right(built)
                time.sleep(wait_s)
                is_right(built)
        assert comes_true(lambda: len(_requests(server)) == len(requested))
        assert set(_requests(server)) == {(200, len(built.content)) for built in BOTH}
        assert "Traceback" not in server.log


@pytest.mark.parametrize("harm", [_removed, _truncated, _a_folder_instead])
def test_a_removed_file_is_fetched_and_cached_again(
    upstream: Upstream, tmp_path: Path, harm: Callable[[Path, Built], None]
) -> None:
    """Once nothing holds the old file open there is one more request upstream, and then none."""
    publish_json(upstream, [LARGE], metadata=False, max_age=600)
    folder = tmp_path / "index"
    with serving(tmp_path, "--files", "cache", "--cache-dir", folder, upstream.simple) as server:
        assert _get(server.url, LARGE) == (200, LARGE.content)
        assert comes_true(lambda: _is_cached(folder, LARGE))
        harm(folder, LARGE)
        time.sleep(6.5)
        for _ in range(3):
            assert _get(server.url, LARGE) == (200, LARGE.content)
            assert comes_true(lambda: _is_cached(folder, LARGE))
    assert len(upstream.seen(_source(LARGE))) == 2


@pytest.mark.parametrize("with_etag", [True, False])
def test_a_removed_file_without_a_digest_is_fetched_whole(
    upstream: Upstream, tmp_path: Path, with_etag: bool
) -> None:
    """A part of it is never taken from what may be another file."""
    publish_html(upstream, [LARGE], hashes=False)
    etag = {"ETag": '"1"'} if with_etag else {}
    upstream.on(_source(LARGE), Reply(body=LARGE.content, headers=etag, ranges=True))
    folder = tmp_path / "index"
    with serving(tmp_path, "--files", "cache", "--cache-dir", folder, upstream.simple) as server:
        assert _get(server.url, LARGE) == (200, LARGE.content)
        assert comes_true(lambda: _is_cached(folder, LARGE))
        for _ in range(3):
            assert _get(server.url, LARGE) == (200, LARGE.content)
            _path(folder, LARGE).unlink(missing_ok=True)
            assert _get(server.url, LARGE) == (200, LARGE.content)
            time.sleep(0.5)


@pytest.mark.parametrize("server", ["uvicorn-h11", "uvicorn-httptools", "hypercorn", "granian"])
def test_other_asgi_servers_send_what_was_checked(
    upstream: Upstream, tmp_path: Path, server: str
) -> None:
    """Whichever way they send files."""
    publish_json(upstream, BOTH, metadata=False, max_age=600)
    folder = tmp_path / "index"
    with served(server, upstream.simple, files="cache", cache=folder) as client:

        def is_right(built: Built) -> bool:
            answer = client.ask("GET", _target(built))
            assert (answer.status, answer.body) == (200, built.content)
            headers = dict(answer.headers)
            assert headers["etag"] == f'"sha256:{built.sha256}"'
            assert int(headers["content-length"]) == len(built.content)
            return _is_cached(folder, built)

        for built in BOTH:
            for harm in (_removed, _overwritten, _truncated):
                assert comes_true(lambda: is_right(built))  # noqa: B023 - called in this turn
                harm(folder, built)
                is_right(built)


@contextlib.contextmanager
def _small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a disk needs more rights")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_part_of_the_disk_stays_free_for_others(upstream: Upstream, tmp_path: Path) -> None:
    """On a disk smaller than the budget others can still write, and new files are cached."""
    wheels = [
        build_wheel(f"p{number}", "1.0", files={"d": os.urandom(3_000_000)}, compressed=False)
        for number in range(12)
    ]
    publish_json(upstream, wheels, metadata=False)
    folder = tmp_path / "small"
    with _small_disk(folder, 20):
        arguments = ("--files", "cache", "--cache-dir", folder / "index", upstream.simple)
        with serving(tmp_path, *arguments) as server:
            for built in wheels:
                assert _get(server.url, built) == (200, built.content)
                disk = os.statvfs(folder)
                assert disk.f_bavail >= disk.f_blocks // 50
            assert server.logged("cannot be written (no space left on device)")
            for path in (folder / "index" / "files").rglob("?" * 62):
                os.utime(path, (1_000_000_000, path.stat().st_mtime))
            cached = {built.filename for built in wheels if _is_cached(folder / "index", built)}
            assert 0 < len(cached) < 7
            # The least recently used file is evicted for the one that is requested now.
            new = next(built for built in wheels if built.filename not in cached)

            def is_cached() -> bool:
                assert _get(server.url, new) == (200, new.content)
                time.sleep(0.5)
                return _is_cached(folder / "index", new)

            assert comes_true(is_cached)
