"""The ceiling: one constant answer from Granian, Uvicorn, or a bare httptools protocol on uvloop.

    python -m bench.bare granian|uvicorn|httptools PORT FILE

FILE holds the whole answer as it is sent: status line, headers, body.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, cast

import httptools
import uvloop
from typing_extensions import override

_HOST = "127.0.0.1"
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Constant:
    """An ASGI application that always gives the same answer."""

    def __init__(self, answer: bytes) -> None:
        head, _, self._body = answer.partition(b"\r\n\r\n")
        lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        self._headers: Headers = [(name.lower(), value) for name, _, value in lines]

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send
    ) -> None:
        """Answer, whatever the request."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


class ConstantProtocol(asyncio.Protocol):
    """The least a server in Python can do: parse the request, write the answer."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop has a class of its own

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """The parser has read a whole request."""
        assert self._transport is not None
        self._transport.write(self._answer)
        if not self._parser.should_keep_alive():
            self._transport.close()


async def _serve_httptools(port: int, answer: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ConstantProtocol(answer), _HOST, port, backlog=2048)
    await server.serve_forever()


def _serve_granian(port: int, answer: bytes) -> None:
    from granian.constants import Interfaces, Loops
    from granian.log import LogLevels
    from granian.server import Server

    server = Server(
        "bench.bare", address=_HOST, port=port, interface=Interfaces.ASGI, loop=Loops.uvloop,
        websockets=False, log_level=LogLevels.error,
    )  # fmt: skip
    server.serve(target_loader=lambda: Constant(answer), wrap_loader=False)


def _serve_uvicorn(port: int, answer: bytes) -> None:
    import uvicorn

    uvicorn.run(
        Constant(answer), host=_HOST, port=port, http="httptools", loop="uvloop", ws="none",
        access_log=False, log_level="error", server_header=False, date_header=False,
    )  # fmt: skip


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", choices=("granian", "uvicorn", "httptools"))
    parser.add_argument("port", type=int)
    parser.add_argument("answer", type=Path, metavar="FILE")
    options = parser.parse_args()
    answer = options.answer.read_bytes()
    if options.server == "granian":
        _serve_granian(options.port, answer)
    elif options.server == "uvicorn":
        _serve_uvicorn(options.port, answer)
    else:
        uvloop.run(_serve_httptools(options.port, answer))


if __name__ == "__main__":
    main()
