"""Sending a part of an open file over a connection without copying it (`sendfile(2)`).

Most of it fits into the buffer of the socket at once; the rest follows when the socket is writable
(`Writable`). The transport's own buffer must be empty until then.
"""

import asyncio
import contextlib
import os
import selectors
import socket
import struct
from collections.abc import Callable

#: After this many bytes other connections have their turn.
_STEP_BYTES = 2 * 1024 * 1024
#: The last bytes, which are sent only if the file is unchanged by then.
_LAST_BYTES = 64 * 1024
#: `struct linger`: on, for 0 s.
_RESET = struct.pack("ii", 1, 0)
_GONE = "the client disconnected"

Done = Callable[[OSError | None, int], None]


def can_send_files(transport: asyncio.Transport) -> bool:
    """Whether files can be sent past the transport: over TCP without TLS."""
    carrier = transport.get_extra_info("socket")
    return (
        carrier is not None
        and carrier.family in (socket.AF_INET, socket.AF_INET6)
        and transport.get_extra_info("sslcontext") is None
        and hasattr(os, "sendfile")
    )


def carrier_of(transport: asyncio.Transport) -> socket.socket:
    """The transport's socket, as one that can be sent to: to be detached, never closed.

    Raises `OSError` if it is closed: its descriptor may have been reused.
    """
    if transport.is_closing():
        raise OSError("the connection is closed")
    carrier = transport.get_extra_info("socket")
    return socket.socket(carrier.family, socket.SOCK_STREAM, 0, carrier.fileno())


def reset_at_close(transport: asyncio.Transport) -> None:
    """Make the close a reset: the client sees an error, and the kernel drops unsent data."""
    with contextlib.suppress(OSError):
        carrier = carrier_of(transport)
        carrier.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        carrier.detach()


class Writable:
    """Waits until sockets of transports are writable.

    Event loops do not allow that for single ones, so one selector is registered for all of them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._selector = selectors.DefaultSelector()
        loop.add_reader(self._selector.fileno(), self._call)

    def wait(self, descriptor: int, action: Callable[[], None]) -> None:
        """Call `action` whenever the descriptor is writable, until `forget`."""
        self._selector.register(descriptor, selectors.EVENT_WRITE, action)

    def forget(self, descriptor: int) -> None:
        """Stop calling its action; to be called before the descriptor is closed."""
        self._selector.unregister(descriptor)

    def _call(self) -> None:
        for key, _ in self._selector.select(0):
            key.data()


class FileSender:
    """Sends a head and `count` bytes of an open file, from `offset` on.

    `done` is called once, with the error or None and the number of bytes sent. The caller keeps the
    file open, and cancels before the socket `carrier` is closed. If `unchanged` returns False
    before the last bytes are sent, they are not sent.
    """

    __slots__ = ("_carrier", "_done", "_file", "_head", "_offset", "_start", "_stop", "_unchanged",
                 "_waiting", "_writable")  # fmt: skip

    def __init__(
        self,
        carrier: socket.socket,
        descriptor: int,
        offset: int,
        count: int,
        done: Done,
        *,
        unchanged: Callable[[], bool] | None = None,
    ) -> None:
        self._carrier = carrier
        self._file = descriptor
        self._start = self._offset = offset
        self._stop = offset + count
        self._done: Done | None = done
        self._unchanged = unchanged
        self._head = b""
        #: What it waits with once the socket is full, and for which descriptor.
        self._writable: Writable | None = None
        self._waiting = -1

    def start(self, writable: Writable, head: bytes = b"") -> bool:
        """Send the head and as much of the file as the socket takes; returns whether that was all.

        If it was, or if it failed, `done` has been called when this returns.
        """
        self._head = head
        try:
            if not self._step():
                self._writable, self._waiting = writable, self._carrier.fileno()
                writable.wait(self._waiting, self._continue)
                return False
        except OSError as error:
            self._finish(error)
        return True

    @property
    def sent(self) -> int:
        """How many bytes of the file the kernel has taken."""
        return self._offset - self._start

    def cancel(self) -> None:
        """Stop, as the connection is closed. `done` is called if it was not yet."""
        self._finish(OSError(_GONE))

    def _continue(self) -> None:
        if self._done is None:  # the action of another sender has cancelled this one
            return
        try:
            self._step()
        except OSError as error:
            self._finish(error)

    def _step(self) -> bool:
        """Send what the socket takes; returns whether that was all."""
        carrier = self._carrier
        limit = min(self._stop, self._offset + _STEP_BYTES)
        try:
            if self._head:
                more = socket.MSG_MORE if limit > self._offset else 0
                self._head = self._head[carrier.send(self._head, more) :]
            while not self._head and self._offset < limit:
                self._offset += self._send_up_to(limit)
        except BlockingIOError:
            return False
        if self._head or self._offset < self._stop:
            return False
        self._finish(None)
        return True

    def _send_up_to(self, limit: int) -> int:
        """Send some of the file before `limit`; the last bytes only if it is unchanged."""
        if limit == self._stop and self._unchanged is not None:
            if limit - self._offset > _LAST_BYTES:
                limit -= _LAST_BYTES
            elif not self._unchanged():
                raise OSError("the file was changed")
        sent = os.sendfile(self._carrier.fileno(), self._file, self._offset, limit - self._offset)
        if not sent:
            raise OSError("the file became shorter")
        return sent

    def _finish(self, error: OSError | None) -> None:
        if self._writable is not None:
            self._writable.forget(self._waiting)
            self._writable = None
        if isinstance(error, ConnectionError):
            error = OSError(_GONE)
        done, self._done = self._done, None
        if done is not None:
            done(error, self.sent)
