"""Running the application under Granian: ports, worker processes, signals, logs."""

import asyncio
import errno
import gc
import logging
import multiprocessing
import socket
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Event
from typing import Any

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from typing_extensions import override

from simple_repository_server.cli.processes import Server, stop_with_parent
from simple_repository_server.config.settings import Settings
from simple_repository_server.errors import TransferAborted
from simple_repository_server.observe.logs import LogWriter, ServerLines, StandardLogging
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
        address, port = reservation.getsockname()[:2]
        server = Server(
            "simple-repository-server",
            address=address,
            port=port,
            interface=Interfaces.ASGI,
            loop=Loops.uvloop,
            websockets=False,
            log_level=LogLevels.error,
            log_dictconfig=_server_logs(settings.log_format),
            workers=settings.workers,
            workers_kill_timeout=_STOP_S,
            respawn_failed_workers=settings.workers > 1,
        )
        ready = multiprocessing.Event()
        load = partial(_load, settings, (address, port), announcement(port), ready)
        server.serve(target_loader=load, wrap_loader=False)


def _load(settings: Settings, address: tuple[str, int], announcement: str, ready: Event) -> AsgiApp:
    """The application, in its worker process."""
    from simple_repository_server.wiring import build_app

    stop_with_parent(_STOP_S)
    write = LogWriter(sys.stderr, form=settings.log_format, level=settings.log_level)
    logging.basicConfig(handlers=[StandardLogging(write)], level=logging.WARNING, force=True)
    # It tells of each attempt again; what comes of it in the end we tell ourselves.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    app = build_app(settings, write)
    sys.setswitchinterval(_SWITCH_S)
    # What is there by now stays for good: the collector need not look at it, time and again.
    gc.collect()
    gc.freeze()

    async def with_announcement(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            task = asyncio.create_task(_announce(*address, announcement, ready))
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
    """A socket that holds the port without listening: our workers can bind it too, others not."""
    try:
        family, address = _resolved(host, port)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
            # There is no moment between the two at which somebody else could have it.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reservation = socket.socket(family)
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reservation.bind(probe.getsockname())
            # From here on it is in the way of everyone without the other option.
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise PortTaken(
            f"cannot listen on {host or repr(host)} port {port} ({reason}). Choose another with "
            "--host or --port (0 picks a free one)."
        ) from error
    return reservation


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """The address of a host that may be a name; IPv4 where it has both. Raises `OSError`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if host else []
    except UnicodeError:
        found = []
    if not found:
        raise OSError(errno.EINVAL, "no address")
    family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, address


class _Quiet(logging.Filter):
    """Leaves out the tracebacks of transfers cut on purpose: the request log says why."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record; the server has the traceback in its text."""
        return TransferAborted.__name__ not in record.getMessage()


def _server_logs(form: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"quiet": {"()": _Quiet}},
        "formatters": {"line": {"()": ServerLines, "form": form}},
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
