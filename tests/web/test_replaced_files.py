"""Files of a directory that are replaced while they are asked for: no answer mixes two of them."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from simple_repository_server.testing.distributions import Built, build_sdist, build_wheel
from tests.serving import serving
from tests.web.served_app import Answer, Client, served

#: Small ones are sent from memory, large ones from their descriptor, or in pieces.
SIZES = {"small": 20_000, "large": 900_000}
HOLD_S = 4.0


def _versions(size: int) -> list[bytes]:
    """Wheels of one name that differ in content, and some in size."""
    built = [
        build_wheel("foo", "1.0", files={"data": os.urandom(size + extra)}, compressed=False)
        for extra in (0, 0, 7, 50_000)
    ]
    return [one.content for one in built]


def _rename(path: Path, content: bytes) -> None:
    """As it should be done: another file takes the place of this one."""
    aside = path.with_name(".aside")
    aside.write_bytes(content)
    aside.replace(path)


def _overwrite(path: Path, content: bytes) -> None:
    """As `cp` does it: the same file, truncated and written anew."""
    path.write_bytes(content)


WAYS: dict[str, Callable[[Path, bytes], None]] = {"renamed": _rename, "overwritten": _overwrite}


@contextmanager
def _being_replaced(path: Path, versions: list[bytes], way: str) -> Iterator[None]:
    """The file is another one all the time, until the block is left."""
    done = threading.Event()
    turn = 0

    def replace() -> None:
        nonlocal turn
        while not done.wait(0.03):
            turn += 1
            WAYS[way](path, versions[turn % len(versions)])

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()


def _ask_until(deadline: float, client: Client, target: str, found: list[Answer]) -> None:
    while time.monotonic() < deadline:
        try:
            found.append(client.ask("GET", target))
        except (HTTPException, OSError):
            client.close()  # cut off, so that nobody takes it for the file


def _check(answers: list[Answer], versions: list[bytes]) -> None:
    """Each answer is an error, or the file of its entity tag, whole."""
    known = {hashlib.sha256(content).hexdigest() for content in versions}
    statuses = {answer.status for answer in answers}
    assert 200 in statuses
    assert statuses <= {200, 404, 502, 503}
    for answer in answers:
        if answer.status == 200:
            headers = dict(answer.headers)
            digest = hashlib.sha256(answer.body).hexdigest()
            assert digest in known
            assert headers["etag"] == f'"sha256:{digest}"'
            assert headers["content-length"] == str(len(answer.body))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_the_command_never_sends_new_bytes_for_old_ones(
    tmp_path: Path, way: str, size: str
) -> None:
    """Under load, by several connections at once, whichever way the file is replaced."""
    versions = _versions(SIZES[size])
    path = tmp_path / "packages" / "foo-1.0-py3-none-any.whl"
    path.parent.mkdir()
    path.write_bytes(versions[0])
    found: list[Answer] = []
    with serving(tmp_path, "--log-level", "warning", path.parent) as server:
        port = urlsplit(server.url).port
        assert port is not None
        clients = [Client(port) for _ in range(4)]
        clients[0].ask("GET", "/simple/foo/")
        with _being_replaced(path, versions, way):
            deadline = time.monotonic() + HOLD_S
            asking = [
                threading.Thread(
                    target=_ask_until, args=(deadline, client, f"/resources/foo/{path.name}", found)
                )
                for client in clients
            ]
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()
        for client in clients:
            client.close()
    _check(found, versions)


@pytest.mark.parametrize("server", ["uvicorn-httptools", "hypercorn", "granian"])
@pytest.mark.parametrize("way", WAYS)
def test_no_server_sends_new_bytes_for_old_ones(tmp_path: Path, server: str, way: str) -> None:
    """Nor does another server that runs the application, where files go in pieces."""
    versions = _versions(SIZES["large"])
    path = tmp_path / "packages" / "foo-1.0-py3-none-any.whl"
    path.parent.mkdir()
    path.write_bytes(versions[0])
    found: list[Answer] = []
    with served(server, path.parent, files="redirect") as client:
        client.ask("GET", "/simple/foo/")
        with _being_replaced(path, versions, way):
            target = f"/resources/foo/{path.name}"
            _ask_until(time.monotonic() + HOLD_S, client, target, found)
    _check(found, versions)


def _slowly(port: int, target: str, change: Callable[[], None]) -> tuple[bytes, str]:
    """Read a file, of which much is not sent yet when it is changed: what came, and the length."""
    import socket

    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port))
        connection.sendall(
            f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        received = connection.recv(1000)
        change()
        try:
            while part := connection.recv(256 * 1024):
                received += part
        except ConnectionError:
            pass
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(x for x in head.decode().lower().split("\r\n") if x.startswith("content-length"))
    return body, length.partition(": ")[2]


@pytest.mark.parametrize("built", [build_sdist("foo", "1.0")])
@pytest.mark.parametrize("way", WAYS)
def test_a_file_replaced_while_it_is_sent_is_not_completed_with_other_bytes(
    tmp_path: Path, way: str, built: Built
) -> None:
    """What is sent goes on with the file it began with, or is cut; the log says what was sent."""
    old, new = os.urandom(30_000_000), os.urandom(30_000_000)
    path = tmp_path / "packages" / built.filename
    path.parent.mkdir()
    path.write_bytes(old)
    with serving(tmp_path, path.parent) as server:
        port = urlsplit(server.url).port
        assert port is not None
        target = f"/resources/foo/{path.name}"
        with closing(Client(port)) as client:
            assert client.ask("GET", "/simple/foo/").status == 200
        body, length = _slowly(port, target, lambda: WAYS[way](path, new))
        assert length == str(len(old))
        if way == "renamed":
            assert body == old
        else:
            assert len(body) < len(old)
            assert server.logged("changed") or server.logged("shorter")
