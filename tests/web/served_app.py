"""The command's application under another server, in a process of its own; see `served`.

`python -m tests.web.served_app SERVER FILES PEM SOURCE...` prints the port it will listen on.
"""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import msgspec

_ROOT = Path(__file__).parents[2]
_START_S = 30
#: The variable that says where the application has its cache.
_CACHE = "SERVED_APP_CACHE"
Run = Callable[[Any, socket.socket, str], Coroutine[Any, Any, None]]


# --- the process ---------------------------------------------------------------------------------


async def _granian(app: Any, listener: socket.socket, _: str) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    # It opens a socket of its own; this one, which does not listen, keeps the port for it.
    port = listener.getsockname()[1]
    await Server(app, port=port, interface=Interfaces.ASGI, log_enabled=False).serve()


async def _hypercorn(app: Any, listener: socket.socket, _: str) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "ERROR"
    await serve(app, config)


def _uvicorn(http: str) -> Run:
    async def run(app: Any, listener: socket.socket, _: str) -> None:
        import uvicorn

        config = uvicorn.Config(app, http=http, ws="none", log_level="error", server_header=False)
        await uvicorn.Server(config).serve([listener])

    return run


async def _protocol(app: Any, listener: socket.socket, pem: str) -> None:
    """Our protocol, but with Uvicorn's own `Server`, and with TLS if there is a certificate."""
    import uvicorn

    from simple_repository_server.cli.uvicorn_server import server_config
    from simple_repository_server.web.server.connections import Limits

    config = server_config(app, limits=Limits(), on_exhausted=lambda: None)
    config.ssl_certfile = config.ssl_keyfile = pem or None
    await uvicorn.Server(config).serve([listener])


SERVERS: dict[str, Run] = {
    "granian": _granian,
    "hypercorn": _hypercorn,
    "uvicorn-httptools": _uvicorn("httptools"),
    "uvicorn-h11": _uvicorn("h11"),
    "protocol-asyncio": _protocol,
    "protocol-uvloop": _protocol,
}


def main(server: str, files: str, pem: str, *sources: str) -> None:
    """Serve the sources until killed."""
    import uvloop

    from simple_repository_server.config.load import load_sources
    from simple_repository_server.config.settings import Settings
    from simple_repository_server.model import FilesMode
    from simple_repository_server.observe.events import ignore
    from simple_repository_server.wiring import build_app

    # Of a socket that does not say it is TCP, asyncio's loop would not set TCP_NODELAY.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    found = load_sources(sources, forbidden_means_absent=())
    cache = os.environ.get(_CACHE)
    settings = Settings(sources=found, files=FilesMode(files), cache=Path(cache) if cache else None)
    app = build_app(settings, ignore)
    make_loop = uvloop.new_event_loop if server == "protocol-uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(SERVERS[server](app, listener, pem))


# --- who asks ------------------------------------------------------------------------------------


class Answer(msgspec.Struct, frozen=True):
    """An answer as a client sees it; its headers as they came, their names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Client:
    """One connection to a server, opened again when the server has closed it."""

    def __init__(self, port: int, trusted: ssl.SSLContext | None = None) -> None:
        self._connection = (
            HTTPConnection("127.0.0.1", port, timeout=20)
            if trusted is None
            else HTTPSConnection("127.0.0.1", port, timeout=20, context=trusted)
        )

    def ask(self, method: str, target: str, **headers: str) -> Answer:
        """One request; `_` in the name of a header is `-`."""
        connection = self._connection
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in {"host": "localhost", **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        names = [(name.lower(), value) for name, value in response.getheaders()]
        return Answer(response.status, names, response.read())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def served(
    server: str,
    *sources: str | Path,
    files: str,
    pem: str = "",
    trusted: ssl.SSLContext | None = None,
    cache: Path | None = None,
) -> Iterator[Client]:
    """The application under the server of that name, and a client of it."""
    environment = {**os.environ, **({_CACHE: str(cache)} if cache else {})}
    command = [sys.executable, "-m", "tests.web.served_app", server, files, pem]
    with subprocess.Popen(
        [*command, *map(str, sources)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            _wait_until_it_answers(process, port)
            with closing(Client(port, trusted)) as client:
                yield client
        finally:
            process.kill()


def _wait_until_it_answers(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        else:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
