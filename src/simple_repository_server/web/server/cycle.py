"""One request in the ordinary way: ASGI messages to bytes, with files sent from descriptors."""

import asyncio
from typing import Any, Protocol

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from simple_repository_server.errors import TransferAborted
from simple_repository_server.web.exchange import ClientGone
from simple_repository_server.web.server.sendfile import Done, FileSender


class Connection(Protocol):
    """The connection, as far as a request needs it."""

    #: Why it was ended.
    cut_because: str

    def send_file(self, descriptor: int, offset: int, count: int, done: Done) -> FileSender:
        """Send a part of an open file; `done` is told of the end of it."""

    def cut(self, reason: str) -> None:
        """End the connection at once."""


class Cycle(RequestResponseCycle):
    """A request and its answer, on a connection that can send files (ASGI Zero Copy Send)."""

    def __init__(self, connection: Connection, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._connection = connection

    @override
    async def run_asgi(self, app: Any) -> None:
        """Have the application answer; what it fails to complete is cut off."""
        try:
            await app(self.scope, self.receive, self.send)
        except (TransferAborted, OSError) as error:  # of which the request's line tells
            await self._cut(str(error))
        except Exception as error:
            self.logger.exception("the application failed")
            await self._cut(str(error))
        else:
            if not self.response_complete and not self.disconnected:
                await self._cut("the application did not complete its answer")
        finally:
            self.on_response = lambda: None

    async def _cut(self, reason: str) -> None:
        if self.disconnected or self.response_complete:
            return
        if self.response_started:
            # What was sent before still arrives; that it is not all can be seen by its length.
            self.transport.close()
            self._connection.cut_because = reason
        else:
            await self.send_500_response()

    @override
    async def send(self, message: Any) -> None:
        """Send a message of the application. Raises `ClientGone` if nobody can take it."""
        if message["type"] == "http.response.zerocopysend":
            await self._send_file(message)
        else:
            await super().send(message)
        if self.disconnected and not self.response_complete:
            raise ClientGone(self._connection.cut_because or "the client went away")

    async def _send_file(self, message: Any) -> None:
        count: int = message["count"]
        if not self.response_started or count > self.expected_content_length:
            raise RuntimeError("A file can only be sent as (a part of) the body that was announced")
        await self._drained()
        if self.disconnected:
            return
        finished: asyncio.Future[tuple[OSError | None, int]]
        finished = asyncio.get_running_loop().create_future()

        def done(error: OSError | None, sent: int) -> None:
            if not finished.done():
                finished.set_result((error, sent))

        sender = self._connection.send_file(message["file"], message["offset"], count, done)
        try:
            error, sent = await finished
        finally:
            sender.cancel()
        if error is not None:
            self._connection.cut(str(error))
            raise ClientGone(self._connection.cut_because, sent=sent)
        self.expected_content_length -= count
        if not message.get("more_body", False):
            await super().send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drained(self) -> None:
        """Wait until nothing is left in the transport's own buffer."""
        self.transport.set_write_buffer_limits(0)
        try:
            while self.transport.get_write_buffer_size() and not self.disconnected:
                await self.flow.drain()
        finally:
            self.transport.set_write_buffer_limits()
