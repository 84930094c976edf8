"""Running the application under Granian: ports, worker processes, signals, logs."""

import asyncio
import gc
import logging
import multiprocessing
import socket
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Event

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server as Granian
from typing_extensions import override

from simple_repository_server.config.settings import Settings
from simple_repository_server.errors import TransferAborted
from simple_repository_server.observe.logs import LogWriter, StandardLogging
from simple_repository_server.web.exchange import AsgiApp, Receive, Scope, Send

#: How long running requests may take to finish once the server was told to stop.
_STOP_S = 20
_TRY_AGAIN_S = 0.02
#: How long work in a thread keeps the event loop waiting each time it wants to go on.
_SWITCH_S = 0.001


class PortTaken(Exception):
    """Another program listens there, or the address is not ours."""


def serve(settings: Settings, announcement: Callable[[int], str]) -> None:
    """Serve until told to stop.

    Once requests are answered, prints what `announcement` says for the port. Raises `PortTaken`
    before anything has begun.
    """
    with _reserved(settings.host, settings.port) as reservation:
        port = reservation.getsockname()[1]
        server = Granian(
            "simple-repository-server",
            address=settings.host,
            port=port,
            interface=Interfaces.ASGI,
            loop=Loops.uvloop,
            websockets=False,
            log_level=LogLevels.error,
            log_dictconfig=_GRANIAN_LOGS,
            workers=settings.workers,
            workers_kill_timeout=_STOP_S,
            respawn_failed_workers=settings.workers > 1,
        )
        ready = multiprocessing.Event()
        load = partial(_load, settings, port, announcement(port), ready)
        server.serve(target_loader=load, wrap_loader=False)


def _load(settings: Settings, port: int, announcement: str, ready: Event) -> AsgiApp:
    """The application, in its worker process."""
    from simple_repository_server.wiring import build_app

    write = LogWriter(sys.stderr, form=settings.log_format, level=settings.log_level)
    logging.basicConfig(handlers=[StandardLogging(write)], level=logging.WARNING, force=True)
    app = build_app(settings, write)
    sys.setswitchinterval(_SWITCH_S)
    # What is there by now stays for good: the collector need not look at it, time and again.
    gc.collect()
    gc.freeze()

    async def with_announcement(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            task = asyncio.create_task(_announce(settings.host, port, announcement, ready))
            await app(scope, receive, send)
            task.cancel()
            write.close()
        else:
            await app(scope, receive, send)

    return with_announcement


async def _announce(host: str, port: int, announcement: str, ready: Event) -> None:
    """Print the announcement as soon as a connection is accepted; only one process does."""
    while not ready.is_set():
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(_TRY_AGAIN_S)
        else:
            writer.close()
            if not ready.is_set():
                ready.set()
                print(announcement, flush=True)  # noqa: T201


def _reserved(host: str, port: int) -> socket.socket:
    """A socket that holds the port without listening, so that workers can bind it too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if port:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
                probe.listen()
        reservation = socket.socket(family)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reservation.bind((host, port))
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise PortTaken(
            f"cannot listen on {host} port {port} ({reason}). Choose another with --host or "
            "--port (0 picks a free one)."
        ) from error
    return reservation


class _Quiet(logging.Filter):
    """Leaves out the tracebacks of transfers cut on purpose: the request log says why."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record; the server has the traceback in its text."""
        return TransferAborted.__name__ not in record.getMessage()


_GRANIAN_LOGS = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"quiet": {"()": _Quiet}},
    "formatters": {"line": {"format": "%(message)s"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stderr",
            "formatter": "line",
            "filters": ["quiet"],
        }
    },
    "loggers": {"_granian": {"handlers": ["stderr"], "propagate": False}},
}
