"""Serving: with one process, or with several under a supervisor."""

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from simple_repository_server.cli.banner import index_url
from simple_repository_server.cli.config_file import ConfigFile
from simple_repository_server.cli.descriptors import default_max_connections, raise_descriptor_limit
from simple_repository_server.cli.hangup import Hangup, meaning_of_hangup
from simple_repository_server.cli.listening import listen
from simple_repository_server.config.load import BadSetting
from simple_repository_server.config.settings import Settings
from simple_repository_server.names import shown_path
from simple_repository_server.observe.log_file import LogFile
from simple_repository_server.observe.logs import LogWriter, StandardLogging, ThreadlessLog
from simple_repository_server.observe.server_events import (
    ServerReady,
    ServerStarting,
    ServerStopped,
)
from simple_repository_server.version import __version__
from simple_repository_server.web.hosts import HostRule
from simple_repository_server.web.server.connections import Limits
from simple_repository_server.web.usage import is_loopback

if TYPE_CHECKING:
    from simple_repository_server.cli.worker import Worker


def serve(
    settings: Settings,
    announcement: Callable[[str, bool], str],
    *,
    reload: Callable[[], Settings] | None = None,
) -> NoReturn:
    """Serve until stopped, and end the process: with status 0, or 1 if it could not start.

    Once requests are answered, prints what `announcement` returns for the address of the index and
    for whether other machines can reach it. `reload` reads the settings again: it is called on
    SIGHUP, and when their configuration file has changed. Raises `BadSetting` or `PortTaken` before
    it starts.
    """
    started = time.monotonic()
    limits = _limits(settings)
    listeners = listen(settings.host, settings.port, settings.workers)
    address, port = listeners[0].getsockname()[:2]
    # A signal that comes while it starts is handled once it can stop gracefully.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    hangup = meaning_of_hangup(has_config=settings.config is not None)
    index = index_url(settings.host, port)
    facts = _facts(settings, index)
    # One line for all workers, from the parent process, which must not have threads.
    log = ThreadlessLog(sys.stderr, form=settings.log_format, level=settings.log_level)
    log(ServerStarting(**facts))
    config = _config_file(settings, reload)
    worker = _worker(settings, hangup, limits, partial(_hosts, address=address), config)

    def announce() -> None:
        log(ServerReady(**facts))
        _print(announcement(index, not is_loopback(address)))

    if settings.workers == 1:
        status = worker.run_alone(listeners[0], announce)
    else:
        from simple_repository_server.cli.supervisor import Supervisor

        status = Supervisor(
            worker,
            listeners,
            log,
            hangup=hangup,
            shutdown_timeout_s=settings.shutdown_timeout_s,
            on_ready=announce,
            file=config,
        ).run()
    log(ServerStopped(status=status, uptime_s=round(time.monotonic() - started, 3), **facts))
    # Threads whose results are no longer needed must not keep the process.
    os._exit(status)


def _print(text: str) -> None:
    # Neither a full pipe nor a path that stdout cannot encode may stop the server.
    LogFile(sys.stdout).write_at_once(f"{text}\n".encode(sys.stdout.encoding, "replace"))


def _limits(settings: Settings) -> Limits:
    descriptors = raise_descriptor_limit()
    max_connections = _max_connections(settings.max_connections, descriptors)
    return Limits(max_connections=max_connections, descriptors=descriptors)


def _config_file(settings: Settings, reload: Callable[[], Settings] | None) -> ConfigFile | None:
    if reload is None or settings.config is None:
        return None
    return ConfigFile(settings, reload)


def _facts(settings: Settings, index: str) -> dict[str, Any]:
    """The fields that the events of the server share."""
    rules = [rule for index in settings.indexes for rule in index.rules]
    rules += [rule for of_source in settings.source_rules.values() for rule in of_source]
    return {
        "version": __version__,
        "pid": os.getpid(),
        "workers": settings.workers,
        "address": index,
        "sources": tuple(source.shown for source in settings.sources),
        "config": shown_path(str(settings.config)) if settings.config else "",
        "rules": len({rule.label for rule in rules}),
    }


def _hosts(settings: Settings, address: str) -> HostRule | None:
    """Which hosts requests may name, for a server that listens at the address; None: any.

    If only this machine can reach it, those that can only mean this machine.
    """
    if not settings.allowed_hosts and not is_loopback(address):
        return None
    return HostRule((settings.host, *settings.allowed_hosts))


def _worker(
    settings: Settings,
    hangup: Hangup,
    limits: Limits,
    hosts: Callable[[Settings], HostRule | None],
    config: ConfigFile | None,
) -> "Worker":
    from simple_repository_server.cli.worker import Worker  # slow to import
    from simple_repository_server.web.server.forwarded import TrustedProxies
    from simple_repository_server.wiring import Parts, build_app

    log = LogWriter(sys.stderr, form=settings.log_format, level=settings.log_level)
    logging.basicConfig(handlers=[StandardLogging(log)], level=logging.WARNING, force=True)
    parts = Parts()
    app = build_app(settings, log, hosts=hosts(settings), parts=parts)
    reloader = None
    if config is not None:
        from simple_repository_server.cli.reloading import Reloader

        reloader = Reloader(config, app, parts, hosts=hosts, emit=log)
    worker = Worker(
        app,
        log,
        reloader=reloader,
        hangup=hangup,
        limits=limits,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        proxies=TrustedProxies(settings.forwarded_allow_ips),
    )
    # What exists by now stays: the garbage collector need not scan it, and forked processes share
    # its pages. Collecting first takes 5 ms and frees nothing.
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
