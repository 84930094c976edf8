"""One request the ordinary way: ASGI messages to bytes, with files sent from descriptors."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from simple_repository_server.errors import TransferAborted
from simple_repository_server.web.exchange import REASON, SENT, UNCHANGED, ClientGone
from simple_repository_server.web.reply import Head
from simple_repository_server.web.server.heads import Heads
from simple_repository_server.web.server.sendfile import Done, FileSender


class Connection(Protocol):
    """The connection, as far as a request needs it."""

    #: Why it was ended.
    cut_because: str
    #: No request is read behind this one.
    ending: bool
    heads: Heads

    def send_file(
        self,
        descriptor: int,
        offset: int,
        count: int,
        done: Done,
        *,
        unchanged: Callable[[], bool] | None,
    ) -> FileSender:
        """Send a part of an open file; `done` is called at the end."""

    def cut(self, reason: str) -> None:
        """End the connection at once."""

    def close(self) -> None:
        """Close the connection once the client has received what it was sent."""


class Cycle(RequestResponseCycle):
    """A request and its answer, on a connection that can send files (ASGI Zero Copy Send)."""

    def __init__(self, connection: Connection, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._connection = connection
        # The application receives an empty body: the real one is dropped.
        self.more_body = False
        self.message_event.set()
        #: An answer of unknown length to a client of HTTP/1.0 ends with the connection.
        self._until_close = False

    @override
    async def run_asgi(self, app: Any) -> None:
        """Have the application answer; an incomplete answer is cut off."""
        try:
            await app(self.scope, self.receive, self.send)
        except (TransferAborted, OSError) as error:  # logged with the request
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
        if self._until_close:
            self._connection.cut(reason)
        elif self.response_started:
            # What was sent before still arrives; its length shows that it is incomplete.
            self._connection.cut_because = reason
            self._connection.close()
        else:
            await self.send_500_response()

    @override
    async def send(self, message: Any) -> None:
        """Send a message of the application. Raises `ClientGone` after a disconnect."""
        if message["type"] == "http.response.zerocopysend":
            await self._send_file(message)
        elif message["type"] == "http.response.start":
            self._until_close = self.scope["http_version"] == "1.0" and not _is_framed(message)
            if self._until_close:
                self.chunked_encoding = False
            await (self._start_with_reason(message) if REASON in message else super().send(message))
        else:
            await self._send_body(message)
        if self.disconnected and not self.response_complete:
            raise ClientGone(self._connection.cut_because or "the client disconnected")

    async def _start_with_reason(self, message: Any) -> None:
        """Send a head with a reason phrase, else as Uvicorn does; it has a Content-Length."""
        await self.flow.drain()
        if self.disconnected:
            return
        head = Head(message["status"], message["headers"], message[REASON])
        self.transport.write(
            self._connection.heads.of(head, self.default_headers, keep_alive=self.keep_alive)
        )
        self.response_started = True
        self.chunked_encoding = False
        self.expected_content_length = int(dict(head.headers)[b"content-length"])

    async def _send_body(self, message: Any) -> None:
        if not self.keep_alive:
            # Uvicorn would close at once, with input unread: `end` does it properly.
            self._connection.ending = self.keep_alive = True
        if self._until_close:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)

    async def _send_file(self, message: Any) -> None:
        count: int = message["count"]
        if not self.response_started or count > self.expected_content_length:
            raise RuntimeError("A file can only be (a part of) the body whose length was announced")
        await self._drained()
        if self.disconnected or self.transport.is_closing():
            raise ClientGone(self._connection.cut_because or "the client disconnected")
        finished: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()

        def done(error: OSError | None, _: int) -> None:
            if not finished.done():
                finished.set_result(error)

        sender = self._connection.send_file(
            message["file"], message["offset"], count, done, unchanged=message.get(UNCHANGED)
        )
        try:
            error = await finished
        finally:
            sender.cancel()
            message[SENT] = sender.sent
        if error is not None:
            self._connection.cut(str(error))
            raise ClientGone(self._connection.cut_because)
        self.expected_content_length -= count
        if not message.get("more_body", False):
            await self._send_body({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drained(self) -> None:
        """Wait until the transport's own buffer is empty."""
        self.transport.set_write_buffer_limits(0)
        while self.transport.get_write_buffer_size() and not self.disconnected:
            await self.flow.drain()
        if not self.disconnected:
            self.transport.set_write_buffer_limits()


def _is_framed(message: Any) -> bool:
    """Whether the head has a Content-Length."""
    return any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
