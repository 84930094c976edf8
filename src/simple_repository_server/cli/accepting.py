"""Accepting connections, and not while there are no descriptors for them."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

from simple_repository_server.cli.listening import BACKLOG
from simple_repository_server.observe.events import AcceptingPaused, AcceptingResumed, Emit

#: How often it is looked whether there are descriptors again, and how many must be free then.
_LOOK_S, _FREE = 0.5, 32


class Acceptor:
    """Accepts the connections of `listeners`, each with a protocol that `make_protocol` makes.

    While it is paused the kernel keeps those who come, up to its backlog.
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
        self._resuming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to accept. Raises `OSError` when there is no descriptor for it."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            server = await loop.create_server(
                self._make_protocol, sock=listener.dup(), backlog=BACKLOG
            )
            self._servers.append(server)

    def pause(self) -> None:
        """Accept nothing until there are descriptors again."""
        if self._resuming is not None:
            return
        self._emit(AcceptingPaused(limit=self._descriptors))
        self._stop()
        self._resuming = asyncio.get_running_loop().create_task(self._resume())

    def close(self) -> None:
        """Accept nothing any more, and close the listening sockets."""
        if self._resuming is not None:
            self._resuming.cancel()
        self._stop()
        for listener in self._listeners:
            listener.close()

    def _stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _resume(self) -> None:
        while not self._has_descriptors():  # noqa: ASYNC110 - nobody would tell
            await asyncio.sleep(_LOOK_S)
        try:
            await self.start()
        finally:
            self._resuming = None
        self._emit(AcceptingResumed())

    def _has_descriptors(self) -> bool:
        """Whether the lowest number that is free, as the next one gets it, is far from the last."""
        try:
            lowest = os.dup(self._listeners[0].fileno())
        except OSError:
            return False
        os.close(lowest)
        return lowest < self._descriptors - _FREE
