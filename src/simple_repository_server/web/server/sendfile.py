"""Sending a part of an open file over a connection without copying it (`sendfile(2)`).

Most go at once, into the buffer of the socket; the rest when there is room again (`Writable`).
Nothing may wait in the transport's own buffer meanwhile.
"""

import asyncio
import contextlib
import os
import selectors
import socket
import struct
from collections.abc import Callable

#: After so many bytes the other connections have their turn.
_STEP_BYTES = 2 * 1024 * 1024
#: Sent only when all before it proves to have been of the file that was looked at.
_LAST_BYTES = 64 * 1024
#: `struct linger`: on, and for no time at all.
_RESET = struct.pack("ii", 1, 0)
_GONE = "the client went away"

Done = Callable[[OSError | None, int], None]


def can_send_files(transport: asyncio.Transport) -> bool:
    """Whether files can be sent past the transport: not under TLS, nor where there is no TCP."""
    carrier = transport.get_extra_info("socket")
    return (
        carrier is not None
        and carrier.family in (socket.AF_INET, socket.AF_INET6)
        and transport.get_extra_info("sslcontext") is None
        and hasattr(os, "sendfile")
    )


def carrier_of(transport: asyncio.Transport) -> socket.socket:
    """The transport's own socket, as one that can be sent to: to be detached, never closed.

    Raises `OSError` when it is closed: its descriptor may be another's by now.
    """
    if transport.is_closing():
        raise OSError("the connection is closed")
    carrier = transport.get_extra_info("socket")
    return socket.socket(carrier.family, socket.SOCK_STREAM, 0, carrier.fileno())


def reset_at_close(transport: asyncio.Transport) -> None:
    """Have the client be told that it did not get all, and the kernel drop what it did not take."""
    with contextlib.suppress(OSError):
        carrier = carrier_of(transport)
        carrier.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        carrier.detach()


class Writable:
    """Waits until sockets can be written to that belong to transports.

    Event loops do not let others wait for those. So they wait for one selector, for all of them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._selector = selectors.DefaultSelector()
        loop.add_reader(self._selector.fileno(), self._call)

    def wait(self, descriptor: int, action: Callable[[], None]) -> None:
        """Call `action` whenever it can be written to, until that is forgotten."""
        self._selector.register(descriptor, selectors.EVENT_WRITE, action)

    def forget(self, descriptor: int) -> None:
        """Call it no more; to be told before the descriptor is closed."""
        self._selector.unregister(descriptor)

    def _call(self) -> None:
        for key, _ in self._selector.select(0):
            key.data()


class FileSender:
    """`count` bytes of an open file, from `offset` on, on their way behind a head.

    `done` is called once, with the error if it failed and the bytes that were sent. Whoever
    starts it keeps the file open, and cancels it before the socket `carrier` is closed. A file of
    which `unchanged` does not hold any more before the last of it is sent is not sent to its end.
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
        #: There once there is something to wait for: by what, and for which descriptor.
        self._writable: Writable | None = None
        self._waiting = -1

    def start(self, writable: Writable, head: bytes = b"") -> bool:
        """Send the head and as much of the file as there is room for; whether that was all.

        If it was all, or failed at once, `done` has been called when this returns.
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
        """Stop: the connection is gone. `done` is called if it was not yet."""
        self._finish(OSError(_GONE))

    def _continue(self) -> None:
        if self._done is None:  # another one that could go on has ended this one
            return
        try:
            self._step()
        except OSError as error:
            self._finish(error)

    def _step(self) -> bool:
        """Send what there is room for; whether that was all."""
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
        """Send some of the file before `limit`, the last of all only if it is what it was."""
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
