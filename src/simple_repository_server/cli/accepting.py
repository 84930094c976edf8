"""Accepting connections, except while file descriptors run short.

Without a free descriptor an event loop closes new connections silently (libuv), or logs an error
in a busy loop (asyncio). So accepting is paused in time, and new connections wait in the kernel.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

from simple_repository_server.cli.listening import BACKLOG
from simple_repository_server.observe.events import Emit
from simple_repository_server.observe.server_events import AcceptingPaused, AcceptingResumed

#: Accepting is paused when fewer descriptors are free.
_PAUSE_BELOW = 16
#: Accepting is resumed when as many are free.
_RESUME_FROM = 32
#: How often free descriptors are checked.
_CHECK_S = 0.5
#: For how long connections must have been accepted again before that is reported.
_STEADY_S = 2.0


class Acceptor:
    """Accepts the connections of `listeners`, each with a new protocol of `make_protocol`.

    While it is paused new connections wait in the kernel, up to its backlog. `emit` is given an
    event when that begins, and when connections have been accepted again for a while.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        make_protocol: Callable[[], asyncio.BaseProtocol],
        *,
        descriptors: int,
        emit: Emit,
    ) -> None:
        self._listeners = listeners
        self._make_protocol = make_protocol
        self._descriptors = descriptors
        self._emit = emit
        self._servers: list[asyncio.Server] = []
        self._watching: asyncio.Task[None] | None = None
        self._is_reported = False

    async def start(self) -> None:
        """Begin to accept. Raises `OSError` without a free descriptor."""
        await self._listen()
        self._watching = asyncio.create_task(self._watch())

    def pause(self) -> None:
        """Accept nothing until enough descriptors are free."""
        if not self._is_reported:
            self._is_reported = True
            self._emit(AcceptingPaused(limit=self._descriptors))
        self._stop()

    def close(self) -> None:
        """Stop accepting for good, and close the listening sockets."""
        if self._watching is not None:
            self._watching.cancel()
        self._stop()
        for listener in self._listeners:
            listener.close()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            server = await loop.create_server(
                self._make_protocol, sock=listener.dup(), backlog=BACKLOG
            )
            self._servers.append(server)

    def _stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _watch(self) -> None:
        """Pause when descriptors run short, also by other use, and resume when enough are free."""
        accepting_s = 0.0
        while True:
            await asyncio.sleep(_CHECK_S)
            if self._servers:
                accepting_s += _CHECK_S
                if not self._are_free(_PAUSE_BELOW):
                    self.pause()
                elif self._is_reported and accepting_s > _STEADY_S:
                    self._is_reported = False
                    self._emit(AcceptingResumed())
            elif self._are_free(_RESUME_FROM):
                accepting_s = 0.0
                try:
                    await self._listen()
                except OSError:
                    self._stop()

    def _are_free(self, count: int) -> bool:
        """Whether as many descriptors are free."""
        taken: list[int] = []
        try:
            for _ in range(count):
                taken.append(os.dup(self._listeners[0].fileno()))  # noqa: PERF401 - `finally` needs those opened so far
        except OSError:
            return False
        finally:
            for descriptor in taken:
                os.close(descriptor)
        return True
