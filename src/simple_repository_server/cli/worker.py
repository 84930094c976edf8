"""A process that answers requests: the only one, or one of several."""

import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import uvloop

from simple_repository_server.cli.hangup import Hangup, means_stop
from simple_repository_server.cli.uvicorn_server import Server, StartFailed
from simple_repository_server.lifecycle import running
from simple_repository_server.observe.audit_log import AuditLog
from simple_repository_server.observe.events import InternalFailure
from simple_repository_server.observe.logs import LogWriter
from simple_repository_server.web.server.connections import Limits
from simple_repository_server.web.server.fast_lane import Peeks
from simple_repository_server.web.server.forwarded import NOBODY, TrustedProxies

if TYPE_CHECKING:
    from simple_repository_server.cli.reloading import Reloader

#: The exit status of a process that could not start and has logged the reason.
START_FAILED = 1
#: Has a worker stop without waiting for running requests. Not a second SIGTERM: service managers
#: may send one to all processes, in addition to the one from the parent.
CUT = signal.SIGUSR1
#: Has a worker reload the configuration, which the parent has read and found valid.
RELOAD = signal.SIGUSR2
#: How long a thread that computes may delay the event loop each time it is ready to run.
_SWITCH_S = 0.001


class Worker:
    """Answers requests with the application until it is stopped."""

    def __init__(
        self,
        app: Peeks,
        log: LogWriter,
        *,
        hangup: Hangup,
        limits: Limits,
        shutdown_timeout_s: float,
        proxies: TrustedProxies = NOBODY,
        reloader: "Reloader | None" = None,
    ) -> None:
        self._proxies = proxies
        self._reloader = reloader
        self._app = app
        self._log = log
        self._hangup = hangup
        self._limits = limits
        self._shutdown_timeout_s = shutdown_timeout_s

    def run_alone(self, listener: socket.socket, on_ready: Callable[[], None]) -> int:
        """Serve in the only process; returns the exit status. A second signal cuts requests off."""
        server = self._server(on_ready)

        def stop() -> None:
            if server.should_exit:
                server.cut()
            server.stop()

        def hang_up() -> None:
            if means_stop(self._hangup):
                server.stop()
                return
            self._reopen()
            if self._reloader is not None:
                self._reloader.request()

        actions = {signal.SIGTERM: stop, signal.SIGINT: stop}
        if self._hangup is not Hangup.IGNORE:
            actions[signal.SIGHUP] = hang_up
        return self._run(server, listener, actions)

    def run_below(self, parent: int, listener: socket.socket, on_ready: Callable[[], None]) -> int:
        """Serve in one of several processes; returns the exit status.

        It stops when the pipe `parent` is closed, as the parent has ended then. Ctrl-C and a closed
        terminal reach all processes; only the parent acts on them.
        """
        server = self._server(on_ready)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        actions = {signal.SIGTERM: server.stop, CUT: server.cut}
        if self._hangup is Hangup.STOP:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        elif self._hangup is not Hangup.IGNORE:
            actions[signal.SIGHUP] = self._reopen
        if self._reloader is not None:
            self._reloader.catch_up()
            actions[RELOAD] = self._reloader.request
        return self._run(server, listener, actions, parent)

    def _reopen(self) -> None:
        """Write to the log files that have the names now, after a rotation."""
        self._log.reopen()
        audit: AuditLog | None = getattr(self._app, "audit", None)
        if audit is not None:
            audit.reopen()

    def _server(self, on_ready: Callable[[], None]) -> Server:
        return Server(
            self._app,
            limits=self._limits,
            shutdown_timeout_s=self._shutdown_timeout_s,
            on_ready=on_ready,
            proxies=self._proxies,
        )

    def _run(
        self,
        server: Server,
        listener: socket.socket,
        actions: Mapping[signal.Signals, Callable[[], None]],
        parent: int | None = None,
    ) -> int:
        sys.setswitchinterval(_SWITCH_S)
        loop = uvloop.new_event_loop()
        for number, action in actions.items():
            loop.add_signal_handler(number, action)
        if parent is not None:
            loop.add_reader(parent, _once(loop, parent, server.stop))
        # Pending signals are delivered once the loop runs: before, it would lose them.
        loop.call_soon(signal.pthread_sigmask, signal.SIG_SETMASK, ())
        try:
            loop.run_until_complete(self._serve(server, listener, polls=parent is None))
        except StartFailed as error:
            self._log(InternalFailure(what=f"cannot start: {error}"))
            return START_FAILED
        finally:
            self._log.close()
        return 0

    async def _serve(self, server: Server, listener: socket.socket, *, polls: bool) -> None:
        if self._reloader is None:
            await server.serve([listener])
            return
        async with running(self._reloader.run(server.forget_requests, polls=polls)):
            await server.serve([listener])


def _once(loop: uvloop.Loop, descriptor: int, action: Callable[[], None]) -> Callable[[], None]:
    """A reader that runs the action the first time the descriptor is readable."""

    def act() -> None:
        loop.remove_reader(descriptor)
        action()

    return act
