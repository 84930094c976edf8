"""Each of several workers has room for new clients, whatever the ones before them do or do not."""

import contextlib
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from simple_repository_server.testing import build_wheel
from tests.serving import comes_true, serving
from tests.web.lane import get

SMALL = build_wheel("srs-fixture-small")
BIG = build_wheel("srs-fixture-big", files={"data": os.urandom(8_000_000)})
HEALTH, PAGE = get("/healthz"), get("/simple/srs-fixture-small/")
FILE = get(f"/resources/srs-fixture-big/{BIG.filename}")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_silent_idle_and_stalled_clients_keep_nobody_out(tmp_path: Path, workers: str) -> None:
    """Far more connections than there may be, none of which ever ends: others are answered."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for built in (SMALL, BIG):
        (folder / built.filename).write_bytes(built.content)
    options = (
        "--workers",
        workers,
        "--max-connections",
        "20",
        "--no-cache",
        "--allowed-host",
        "index.example",
    )
    with serving(tmp_path, *options, folder) as server, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", urlsplit(server.url).port or 0)

        def come(data: bytes) -> socket.socket:
            client = stack.enter_context(socket.create_connection(address, timeout=20))
            client.sendall(data)
            return client

        for _ in range(3):  # a few that stall, as these are cut after a minute only
            come(FILE).recv(100)
        for _ in range(60):  # each is idle before the next one comes
            assert come(PAGE).recv(65536).startswith(b"HTTP/1.1 200 ")
        for number in range(60):
            come(b"GET / HT"[: 8 * (number % 2)])
        # Who did not send a request may be evicted after a second or so, in each of the workers.
        assert comes_true(
            lambda: all(come(HEALTH).recv(65536).startswith(b"HTTP/1.1 200 ") for _ in range(40)),
        )
        stack.close()
        assert server.stop() == 0
        assert "Traceback" not in server.log
