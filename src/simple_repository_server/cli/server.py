"""Serving: one process, or several below one that looks after them."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from simple_repository_server.cli.descriptors import default_max_connections, raise_descriptor_limit
from simple_repository_server.cli.hangup import Hangup, meaning_of_hangup
from simple_repository_server.cli.listening import listen
from simple_repository_server.config.load import BadSetting
from simple_repository_server.config.settings import Settings
from simple_repository_server.observe.log_file import LogFile
from simple_repository_server.observe.logs import LogWriter, StandardLogging, ThreadlessLog

if TYPE_CHECKING:
    from simple_repository_server.cli.worker import Worker


def serve(settings: Settings, announcement: Callable[[int], str]) -> NoReturn:
    """Serve until told to stop, and end the process: status 0, or 1 if it could not start.

    Once requests are answered, prints what `announcement` says for the port. Raises `BadSetting`
    or `PortTaken` before anything has begun.
    """
    descriptors = raise_descriptor_limit()
    max_connections = _max_connections(settings.max_connections, descriptors)
    listeners = listen(settings.host, settings.port, settings.workers)
    port = listeners[0].getsockname()[1]
    # Whoever stops it while it starts is heard once it can be stopped in an orderly way.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    hangup = meaning_of_hangup()
    worker = _worker(settings, hangup, max_connections, descriptors)

    def announce() -> None:
        # A full pipe must not hold up the server, nor a path that stdout cannot encode end it.
        text = f"{announcement(port)}\n".encode(sys.stdout.encoding, "replace")
        LogFile(sys.stdout).write_at_once(text)

    if settings.workers == 1:
        status = worker.run_alone(listeners[0], announce)
    else:
        from simple_repository_server.cli.supervisor import Supervisor

        status = Supervisor(
            worker,
            listeners,
            ThreadlessLog(sys.stderr, form=settings.log_format, level=settings.log_level),
            hangup=hangup,
            shutdown_timeout_s=settings.shutdown_timeout_s,
            on_ready=announce,
        ).run()
    # Threads that still work on what nobody waits for any more do not keep it.
    os._exit(status)


def _worker(settings: Settings, hangup: Hangup, max_connections: int, descriptors: int) -> "Worker":
    from simple_repository_server.cli.worker import Worker  # slow to import
    from simple_repository_server.web.server.connections import Limits
    from simple_repository_server.wiring import build_app

    log = LogWriter(sys.stderr, form=settings.log_format, level=settings.log_level)
    logging.basicConfig(handlers=[StandardLogging(log)], level=logging.WARNING, force=True)
    # It tells of each attempt again; what comes of it in the end we tell ourselves.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    worker = Worker(
        build_app(settings, log),
        log,
        hangup=hangup,
        limits=Limits(max_connections=max_connections, descriptors=descriptors),
        shutdown_timeout_s=settings.shutdown_timeout_s,
    )
    # What is there by now stays for good: the collector need not look at it, time and again,
    # and processes forked from this one share it. Collecting first takes 5 ms and frees nothing.
    gc.freeze()
    gc.enable()
    return worker


def _max_connections(wanted: int | None, descriptors: int) -> int:
    possible = default_max_connections(descriptors)
    if wanted is None:
        return possible
    if wanted > possible:
        raise BadSetting(
            f"--max-connections {wanted} is more than a process with {descriptors} open files can "
            f"have ({possible}). Give less, or raise the limit (ulimit -n)."
        )
    return wanted
