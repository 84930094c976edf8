"""The audit log of a running server: every file that real clients received, from every worker."""

import http.client
import json
import re
import resource
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from tests.clients.installers import pip_install, uv_install
from tests.serving import Server, comes_true, serving

NAME = "srs-fixture-audited"
WHEEL = build_wheel(NAME)
FILE = f"/resources/{NAME}/{WHEEL.filename}"
WORKERS = pytest.mark.parametrize("workers", ["1", "3"])


def _get(server: Server, target: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    with closing(connection):
        connection.request(method, target, headers=headers)
        with connection.getresponse() as response:
            return response.status, response.read()


def _records(path: Path) -> list[dict[str, Any]]:
    """The complete lines so far."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / WHEEL.filename).write_bytes(WHEEL.content)
    return folder


def _audited(tmp_path: Path, workers: str, files: str, *sources: str | Path) -> Any:
    config = tmp_path / "server.toml"
    config.write_text(f'[audit]\nfile = "{tmp_path / "audit.jsonl"}"\n')
    options = ("--config", config, "--workers", workers, "--files", files)
    return serving(tmp_path, *options, *sources)


@WORKERS
@pytest.mark.parametrize("install", [pip_install, uv_install], ids=["pip", "uv"])
def test_what_an_installer_received_is_recorded_once(
    tmp_path: Path, workers: str, install: Callable[..., Any]
) -> None:
    """An installation of one wheel is one record, with all that is known about it."""
    path = tmp_path / "audit.jsonl"
    with _audited(tmp_path, workers, "redirect", _packages(tmp_path)) as server:
        assert install(tmp_path, server.simple, NAME).status == 0
        assert comes_true(lambda: _records(path))
    (record,) = _records(path)
    assert re.match(r"(pip|uv)/", record.pop("user_agent"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("time"))
    assert record == {
        "event": "file_served",
        "client": "127.0.0.1",
        "user": "",
        "project": NAME,
        "file": WHEEL.filename,
        "digest": f"sha256:{WHEEL.sha256}",
        "source": str(tmp_path / "packages"),
        "mode": "local",
        "status": 200,
        "index": "",
        "bytes": len(WHEEL.content),
        "error": "",
    }


@pytest.mark.parametrize(
    ("files", "mode", "status"),
    [("redirect", "redirect", 302), ("stream", "stream", 200), ("cache", "cache", 200)],
)
def test_each_mode_is_recorded_first_and_again(
    tmp_path: Path, files: str, mode: str, status: int
) -> None:
    """A file of an index is recorded with how it came, each time, from whichever lane."""
    path = tmp_path / "audit.jsonl"
    with Upstream() as upstream:
        publish_json(upstream, [WHEEL])
        with _audited(tmp_path, "1", files, upstream.simple) as server:
            for _ in range(4):
                assert _get(server, FILE)[0] == status
            assert comes_true(lambda: len(_records(path)) == 4)
        for record in _records(path):
            assert (record["mode"], record["status"]) == (mode, status)
            assert record["source"] == upstream.simple
            assert record["digest"] == f"sha256:{WHEEL.sha256}"
            assert record["bytes"] == (0 if status == 302 else len(WHEEL.content))


def test_parts_and_confirmations_are_recorded_and_heads_are_not(tmp_path: Path) -> None:
    """206 and 304 hand out a file; HEAD, metadata, pages and errors do not."""
    path = tmp_path / "audit.jsonl"
    with _audited(tmp_path, "1", "redirect", _packages(tmp_path)) as server:
        for _ in range(2):  # the first ones wait, the others do not
            assert _get(server, FILE, "HEAD")[0] == 200
            assert _get(server, f"{FILE}.metadata")[0] == 200
            assert _get(server, f"/simple/{NAME}/")[0] == 200
            assert _get(server, FILE.replace("1.0", "9.0"))[0] == 404
            assert _get(server, FILE, Range="bytes=999999-")[0] == 416
            assert _get(server, FILE, Range="bytes=0-9")[0] == 206
            etag = f'"sha256:{WHEEL.sha256}"'
            assert _get(server, FILE, **{"If-None-Match": etag})[0] == 304
        assert comes_true(lambda: len(_records(path)) >= 4)
    found = [(record["status"], record["bytes"]) for record in _records(path)]
    assert found == [(206, 10), (304, 0)] * 2


@WORKERS
def test_rotation_loses_nothing(tmp_path: Path, workers: str) -> None:
    """SIGHUP has every worker write to the new file, with whole lines, while requests go on."""
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    with _audited(tmp_path, workers, "redirect", _packages(tmp_path)) as server:
        for _ in range(20):
            assert _get(server, FILE)[0] == 200
        path.rename(old)
        server.process.send_signal(signal.SIGHUP)
        assert comes_true(path.exists)
        for _ in range(20):
            assert _get(server, FILE)[0] == 200
        assert comes_true(lambda: len(_records(path)) + len(_records(old)) == 40)

        def has_reached_all() -> bool:
            count = len(_records(old))
            _get(server, FILE)
            return (
                comes_true(lambda: len(_records(path)) + count > 40) and len(_records(old)) == count
            )

        assert comes_true(has_reached_all)
    assert len(_records(old)) >= 20
    assert path.stat().st_mode & 0o137 == 0


def test_a_full_disk_degrades_readyz_and_delays_the_records(tmp_path: Path) -> None:
    """Files are served all the same, `/readyz` says what is wrong, and the records come later."""
    path = tmp_path / "audit.jsonl"
    with _audited(tmp_path, "1", "redirect", _packages(tmp_path)) as server:

        def status() -> Any:
            return json.loads(_get(server, "/readyz")[1])

        assert status()["status"] == "ready"
        assert status()["audit"] == {"file": str(path), "state": "available", "detail": ""}
        pid = server.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (10, hard))
        assert _get(server, FILE)[0] == 200
        assert comes_true(lambda: status()["status"] == "degraded")
        assert "it cannot be written: " in status()["audit"]["detail"]
        assert _get(server, "/readyz")[0] == 200
        assert path.read_text() == ""
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert comes_true(lambda: status()["status"] == "ready")
        assert len(_records(path)) == 1


def test_an_audit_log_that_cannot_be_opened_keeps_the_server_from_starting(tmp_path: Path) -> None:
    """The one line says which file, and why."""
    (tmp_path / "audit.jsonl").mkdir()
    with (
        pytest.raises(AssertionError, match=r"audit\.file: .*audit\.jsonl is a directory"),
        _audited(tmp_path, "1", "redirect", _packages(tmp_path)),
    ):
        pass
