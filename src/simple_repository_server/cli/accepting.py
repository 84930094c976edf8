"""Accepting connections, and not while there are no descriptors for them.

Where an event loop finds none, it closes those who come without a word (libuv), or says so again
and again (asyncio). So it is looked in time, and the kernel keeps those who come meanwhile.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

from simple_repository_server.cli.listening import BACKLOG
from simple_repository_server.observe.events import Emit
from simple_repository_server.observe.server_events import AcceptingPaused, AcceptingResumed

#: How many descriptors must be free for connections to be accepted, and to be accepted again.
_SPARE, _FREE = 16, 32
#: How often that is looked at, and how long it must last to be told.
_LOOK_S, _STEADY_S = 0.5, 2.0


class Acceptor:
    """Accepts the connections of `listeners`, each with a protocol that `make_protocol` makes.

    While it is paused the kernel keeps those who come, up to its backlog. `emit` is told when that
    begins, and when connections have been accepted again for a while.
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
        self._is_told = False

    async def start(self) -> None:
        """Begin to accept. Raises `OSError` when there is no descriptor for it."""
        await self._listen()
        self._watching = asyncio.create_task(self._watch())

    def pause(self) -> None:
        """Accept nothing until there are descriptors again."""
        if not self._is_told:
            self._is_told = True
            self._emit(AcceptingPaused(limit=self._descriptors))
        self._stop()

    def close(self) -> None:
        """Accept nothing any more, and close the listening sockets."""
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
        """Pause when descriptors run out, whatever takes them, and resume when there are some."""
        accepting_s = 0.0
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._servers:
                accepting_s += _LOOK_S
                if not self._are_free(_SPARE):
                    self.pause()
                elif self._is_told and accepting_s > _STEADY_S:
                    self._is_told = False
                    self._emit(AcceptingResumed())
            elif self._are_free(_FREE):
                accepting_s = 0.0
                try:
                    await self._listen()
                except OSError:
                    self._stop()

    def _are_free(self, count: int) -> bool:
        """Whether there are so many descriptors to be had."""
        taken: list[int] = []
        try:
            for _ in range(count):
                taken.append(os.dup(self._listeners[0].fileno()))  # noqa: PERF401 - all are closed
        except OSError:
            return False
        finally:
            for descriptor in taken:
                os.close(descriptor)
        return True
