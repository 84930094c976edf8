"""Uvicorn as this command runs it: with our protocol, start and stop, and no logs of its own."""

import asyncio
import contextlib
import math
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from typing_extensions import override

from simple_repository_server.cli.accepting import Acceptor
from simple_repository_server.cli.lifespan import Lifespan
from simple_repository_server.cli.listening import BACKLOG
from simple_repository_server.web.server.connections import Connections, Limits
from simple_repository_server.web.server.fast_lane import FastLane, Peeks
from simple_repository_server.web.server.forwarded import NOBODY, TrustedProxies
from simple_repository_server.web.server.heads import Heads
from simple_repository_server.web.server.protocol import IndexProtocol

if TYPE_CHECKING:
    from uvicorn.server import Protocols

#: How often the shutdown checks whether the last connection is closed.
_CHECK_S = 0.01
#: What cancelled tasks may take to end. With the next one, the default time for requests (8 s) and
#: that for the log it is less than the 10 s after which containers are killed.
_CANCEL_S = 0.3
#: What the application may take to stop, at least.
_LIFESPAN_S = 1.0


class StartFailed(Exception):
    """The application could not start, for the reason in the text."""


def server_config(
    app: Peeks,
    *,
    limits: Limits,
    on_exhausted: Callable[[], None],
    proxies: TrustedProxies = NOBODY,
    lane: FastLane | None = None,
) -> uvicorn.Config:
    """Uvicorn's configuration, with our protocol.

    `on_exhausted` is called when the process runs out of descriptors; the `X-Forwarded-…` headers
    of `proxies` are trusted. `lane` is the fast lane to `app`, if the caller needs it.
    """
    protocol: Any = partial(
        IndexProtocol,
        lane=lane or FastLane(app),
        connections=Connections(limits, emit=app.emit, on_exhausted=on_exhausted),
        heads=Heads(),
        proxies=proxies,
    )
    return uvicorn.Config(
        app,
        http=protocol,
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
    """Serves until `stop`; then running requests have `shutdown_timeout_s` before they are cut off.

    `on_ready` is called once requests are answered. It handles no signals. `serve` raises
    `StartFailed` if the application cannot start.
    """

    def __init__(
        self,
        app: Peeks,
        *,
        limits: Limits,
        shutdown_timeout_s: float,
        on_ready: Callable[[], None],
        proxies: TrustedProxies = NOBODY,
    ) -> None:
        lane = FastLane(app)
        config = server_config(
            app, limits=limits, on_exhausted=self._pause, proxies=proxies, lane=lane
        )
        #: Called when the application answers from something else than before.
        self.forget_requests = lane.forget
        super().__init__(config)
        self._limits = limits
        self._emit = app.emit
        self._shutdown_timeout_s = shutdown_timeout_s
        self._on_ready = on_ready
        self._acceptor: Acceptor | None = None
        self._stop = asyncio.Event()
        self._cut = asyncio.Event()

    def stop(self) -> None:
        """Stop gracefully."""
        self.should_exit = True
        self._stop.set()

    def cut(self) -> None:
        """Stop without waiting for running requests."""
        self.force_exit = True
        self._cut.set()
        self.stop()

    @override
    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await self._serve(sockets)

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.on_tick(0)  # makes the default headers, which the first answer needs, too
        self.lifespan = Lifespan(self.config)
        starting = asyncio.create_task(self._start(sockets or []))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            self._on_ready()

    async def _start(self, listeners: list[socket.socket]) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise StartFailed(self.lifespan.failure)
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        protocol = partial(
            make,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        descriptors = self._limits.descriptors
        self._acceptor = Acceptor(listeners, protocol, descriptors=descriptors, emit=self._emit)
        await self._acceptor.start()
        self.started = True

    def _pause(self) -> None:
        if self._acceptor is not None:
            self._acceptor.pause()

    @override
    async def main_loop(self) -> None:
        while not self.should_exit:
            made_at = time.time()
            await self.on_tick(0)  # makes the header Date
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(next_date_s(made_at, time.time())):
                    await self._stop.wait()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
        until = time.monotonic() + self._shutdown_timeout_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._shutdown_timeout_s):
                await self._finish()
        await self._cut_rest()
        if not self.force_exit:
            # The rest of the time for requests is for writing what they put into the cache.
            await self._end(max(_LIFESPAN_S, until - time.monotonic()))

    async def _end(self, within_s: float) -> None:
        """Stop the application, unless that takes too long or `cut` is called."""
        ending = asyncio.create_task(self.lifespan.shutdown())
        cut = asyncio.create_task(self._cut.wait())
        await asyncio.wait((ending, cut), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        for task in (ending, cut):
            task.cancel()

    async def _finish(self) -> None:
        """Wait until all requests are answered, or `cut` is called."""
        state = self.server_state
        stopped: set[Protocols] = set()
        while (state.connections or state.tasks) and not self.force_exit:
            # One that was just being accepted is added after the others.
            for connection in state.connections - stopped:
                connection.shutdown()
            stopped |= state.connections
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_S):
                    await self._cut.wait()

    async def _cut_rest(self) -> None:
        """Abort the remaining connections, and cancel their tasks."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # `connection_lost` is called, so that nothing more is answered
        if tasks := tuple(self.server_state.tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CANCEL_S)


def next_date_s(made_at: float, now: float) -> float:
    """Seconds until the header `Date` that was made at `made_at` is out of date.

    Timers may fire a moment early: a header made just before the second changed is due at once.
    After the clock was set back it is due within a second.
    """
    return min(1.0, math.floor(made_at) + 1 - now)
