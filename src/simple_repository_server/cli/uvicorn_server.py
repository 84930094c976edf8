"""Uvicorn, as this command runs it: how it starts, how it stops, and nothing it says by itself."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from simple_repository_server.cli.lifespan import Lifespan
from simple_repository_server.cli.listening import BACKLOG
from simple_repository_server.web.exchange import AsgiApp

if TYPE_CHECKING:
    from uvicorn.server import Protocols

#: How often it is looked whether the last connection is gone.
_LOOK_S = 0.01
#: What tasks that were cancelled, and the application's end, may take.
_CANCEL_S = 0.5
_LIFESPAN_S = 2.0


class StartFailed(Exception):
    """The application could not start; the text says why."""


def server_config(app: AsgiApp, *, max_connections: int) -> uvicorn.Config:
    """Uvicorn's configuration; the only place where the protocol is chosen."""
    return uvicorn.Config(
        app,
        http=HttpToolsProtocol,
        limit_concurrency=max_connections + 1,  # it refuses the one that reaches it
        loop="uvloop",
        ws="none",
        interface="asgi3",
        backlog=BACKLOG,
        proxy_headers=False,
        server_header=False,
        headers=[("server", "simple-repository-server")],
        log_config=None,
        log_level="error",
        access_log=False,
    )


class Server(uvicorn.Server):
    """Serves until `stop`, then finishes what runs for `shutdown_timeout_s`, then cuts it.

    `on_ready` is called once requests are answered. Signals are not its business. `serve` raises
    `StartFailed` where the application cannot start.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        shutdown_timeout_s: float,
        on_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._shutdown_timeout_s = shutdown_timeout_s
        self._on_ready = on_ready
        self._stop = asyncio.Event()
        self._cut = asyncio.Event()

    def stop(self) -> None:
        """Stop, the orderly way."""
        self.should_exit = True
        self._stop.set()

    def cut(self) -> None:
        """Stop without waiting for what runs."""
        self.force_exit = True
        self._cut.set()
        self.stop()

    @override
    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await self._serve(sockets)

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.on_tick(0)  # makes the headers of all answers: the first one has them, too
        self.config.lifespan_class = Lifespan
        self.lifespan = Lifespan(self.config)
        starting = asyncio.create_task(self._start(sockets))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            self._on_ready()

    async def _start(self, sockets: list[socket.socket] | None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            raise StartFailed(self.lifespan.failure) from None

    @override
    async def main_loop(self) -> None:
        while not self.should_exit:
            with contextlib.suppress(TimeoutError):
                # When the second changes, and with it the header Date.
                async with asyncio.timeout(1 - time.time() % 1):
                    await self._stop.wait()
            await self.on_tick(0)

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._shutdown_timeout_s):
                await self._finish()
        await self._cut_rest()
        if not self.force_exit:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LIFESPAN_S):
                    await self.lifespan.shutdown()

    async def _finish(self) -> None:
        """Wait until all requests are answered, or it is not to be waited any longer."""
        state = self.server_state
        told: set[Protocols] = set()
        while (state.connections or state.tasks) and not self.force_exit:
            # One that was just being accepted comes later than the others.
            for connection in state.connections - told:
                connection.shutdown()
            told |= state.connections
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._cut.wait()

    async def _cut_rest(self) -> None:
        """Abort the connections that are left, and cancel what works for them."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # the protocols hear of it, so that nobody answers any more
        if tasks := tuple(self.server_state.tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CANCEL_S)
