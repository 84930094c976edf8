"""`simple-repository-server [options] [SOURCE ...]`: serve the sources as one index."""

import re
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import click

from simple_repository_server.cache.freshness import STALE_IF_ERROR_S
from simple_repository_server.cli.banner import banner
from simple_repository_server.cli.commands import Command, by_their_variables, refuse
from simple_repository_server.cli.listening import PortTaken
from simple_repository_server.cli.main import CACHE
from simple_repository_server.cli.server import serve
from simple_repository_server.config.load import (
    BadSetting,
    cache_folder,
    digests_file,
    load_egress,
    load_sources,
    parse_size,
)
from simple_repository_server.config.settings import (
    DEFAULT_CACHE_SIZE,
    DEFAULT_FORWARDED_ALLOW_IPS,
    DEFAULT_MEMORY_BYTES,
    DEFAULT_SHUTDOWN_TIMEOUT_S,
    DEFAULT_SMALL_FILE_BYTES,
    DEFAULT_STALE_WHILE_REVALIDATE_S,
    MIN_CACHE_BYTES,
    MIN_MEMORY_BYTES,
    Settings,
)
from simple_repository_server.disk.ownership import NOT_OURS, may_be_cache
from simple_repository_server.model import FilesMode
from simple_repository_server.observe.logs import LogFormat, LogLevel
from simple_repository_server.version import __version__
from simple_repository_server.web.server.forwarded import TrustedProxies

_HOST_NAME = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-][A-Za-z0-9._-]*")


class _Integer(click.IntRange):
    """An integer in a range, called just an integer in errors."""

    name = "integer"


def _choice(kind: type[StrEnum]) -> "click.Choice[str]":
    """The values of an enumeration as the values of an option."""
    return click.Choice([member.value for member in kind])


@click.command(cls=Command)
@click.argument("source", nargs=-1, metavar="[SOURCE]...", envvar="SRS_SOURCES")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on.",
)
@click.option(
    "--port",
    type=_Integer(0, 65535),
    default=8000,
    show_default=True,
    metavar="PORT",
    help="Port to listen on. 0 picks a free one, which is printed.",
)
@click.option(
    "--allowed-host",
    multiple=True,
    metavar="NAME",
    help="Accept requests for this host name, for its subdomains (*.NAME), or for any name (*). "
    "Repeatable.  [default: 'localhost' if bound to loopback, else *]",
)
@click.option(
    "--forwarded-allow-ips",
    default=",".join(DEFAULT_FORWARDED_ALLOW_IPS),
    show_default=True,
    metavar="LIST",
    help="Trust X-Forwarded-For, -Proto, -Host and -Prefix from these proxies: addresses and "
    "networks, separated by commas, or * for all.",
)
@click.option(
    "--files",
    type=_choice(FilesMode),
    default=None,
    help="How clients get remote files: redirected to the origin, streamed through this server, "
    "or streamed and stored in the cache. Files of sources with credentials are never redirected. "
    " [default: redirect]",
)
@click.option("--stream-http-resources", is_flag=True, help="Same as --files stream.")
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Directory of the cache for pages, metadata and files. Several servers may share it.  "
    "[default: below the user's cache directory]",
)
@click.option("--no-cache", is_flag=True, help="Write nothing to disk.")
@click.option(
    "--cache-size",
    default=DEFAULT_CACHE_SIZE,
    show_default=True,
    metavar="SIZE",
    help="Maximum size of the cache, such as 10GB or 512MiB. Least recently used entries are "
    "evicted.",
)
@click.option(
    "--offline", is_flag=True, help="Serve from the cache only; send no requests to indexes."
)
@click.option(
    "--proxy",
    metavar="URL",
    help="HTTP proxy for requests to indexes, except to hosts in NO_PROXY; 'none' connects "
    "directly.  [default: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY]",
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="File of certificate authorities (PEM) to trust in addition to the system's.",
)
@click.option(
    "--stale-if-error",
    type=_Integer(0),
    default=int(STALE_IF_ERROR_S),
    show_default=True,
    metavar="SECONDS",
    help="Maximum age of a page that is served while its index is unavailable.",
)
@click.option(
    "--stale-while-revalidate",
    type=_Integer(0),
    default=int(DEFAULT_STALE_WHILE_REVALIDATE_S),
    show_default=True,
    metavar="SECONDS",
    help="How long a stale page is served while it is revalidated; at most as long as its "
    "index declared it fresh.",
)
@click.option(
    "--workers",
    type=_Integer(1, 256),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of processes that serve requests.",
)
@click.option(
    "--max-connections",
    type=_Integer(1),
    metavar="N",
    help="Maximum number of connections per process.  [default: as the limit on open files allows]",
)
@click.option(
    "--shutdown-timeout",
    type=_Integer(0),
    default=int(DEFAULT_SHUTDOWN_TIMEOUT_S),
    show_default=True,
    metavar="SECONDS",
    help="How long requests in flight may take to finish after a signal to stop.",
)
@click.option(
    "--small-files",
    default=f"{DEFAULT_SMALL_FILE_BYTES // 1000}kB",
    show_default=True,
    metavar="SIZE",
    help="Serve files up to this size from memory; 0 for none.",
)
@click.option(
    "--forbidden-means-absent",
    multiple=True,
    metavar="SOURCE",
    help="Interpret status 403 from this SOURCE as 'no such project'. Repeatable.",
)
@click.option(
    "--memory",
    default=f"{DEFAULT_MEMORY_BYTES // 1000**2}MB",
    show_default=True,
    metavar="SIZE",
    help="Memory per process for cached pages, metadata and small files, such as 256MB.",
)
@click.option(
    "--log-format",
    type=_choice(LogFormat),
    default=LogFormat.TEXT.value,
    show_default=True,
    help="Log format.",
)
@click.option(
    "--log-level",
    type=_choice(LogLevel),
    default=LogLevel.INFO.value,
    show_default=True,
    help="Lowest level that is logged (to stderr). Requests are logged at 'info'.",
)
@click.option(
    "--debug-headers",
    is_flag=True,
    help="Send a Cache-Status header (RFC 9211): what the cache decided for each answer.",
)
@click.version_option(__version__, prog_name="simple-repository-server")
def command(source: tuple[str, ...], **options: Any) -> None:
    """Combine local directories and remote indexes into one Python package index.

    SOURCE is a directory of distribution files, the http(s) URL of a simple index, or 'pypi' (for
    a directory of that name, write './pypi'). Order is priority: the first source that has a
    project provides all its versions. Without any SOURCE, PyPI is served. Sources can also be
    given in SRS_SOURCES, separated by spaces. ${NAME} in a URL is replaced by that environment
    variable, so that passwords need not be written out.

    'simple-repository-server cache' inspects and maintains the cache: 'info', 'clear', 'verify',
    'prune', 'refresh' and 'forget' (see 'simple-repository-server cache --help').
    """
    if source[:1] == (CACHE,):
        refuse(
            f"'{CACHE}' is a command and must precede all options: see 'simple-repository-server "
            f"cache --help'. To serve a directory of that name, give './{CACHE}'."
        )
    try:
        settings = settings_of(source, options)
        serve(settings, partial(banner, settings, implicit=not source))
    except (BadSetting, PortTaken) as error:
        refuse(by_their_variables(str(error), click.get_current_context()))


def settings_of(source: tuple[str, ...], options: dict[str, Any]) -> Settings:
    """The validated settings. Raises `BadSetting`."""
    absent, offline = options["forbidden_means_absent"], options["offline"]
    sources = load_sources(source, forbidden_means_absent=absent)
    return Settings(
        sources=sources,
        host=options["host"],
        port=options["port"],
        allowed_hosts=_allowed_hosts(options),
        forwarded_allow_ips=_proxies(options),
        files=_files(options),
        workers=options["workers"],
        max_connections=options["max_connections"],
        shutdown_timeout_s=options["shutdown_timeout"],
        small_file_bytes=parse_size(options["small_files"], option="--small-files"),
        cache=_cache(options),
        cache_bytes=parse_size(options["cache_size"], option="--cache-size", least=MIN_CACHE_BYTES),
        offline=offline,
        egress=load_egress(
            sources, proxy=options["proxy"], ca_file=options["ca_file"], offline=offline
        ),
        stale_if_error_s=options["stale_if_error"],
        stale_while_revalidate_s=options["stale_while_revalidate"],
        memory_bytes=parse_size(options["memory"], option="--memory", least=MIN_MEMORY_BYTES),
        log_format=LogFormat(options["log_format"]),
        log_level=LogLevel(options["log_level"]),
        debug_headers=options["debug_headers"],
        digests=None if options["no_cache"] else digests_file(),
    )


def _files(options: dict[str, Any]) -> FilesMode:
    default = FilesMode.REDIRECT
    if options["stream_http_resources"]:
        default = FilesMode.STREAM
        if options["files"] not in (None, FilesMode.STREAM):
            raise BadSetting(
                f"--stream-http-resources and --files {options['files']} cannot be used together."
            )
    files = FilesMode(options["files"] or default)
    if files is FilesMode.CACHE and options["no_cache"]:
        raise BadSetting("--files cache and --no-cache cannot be used together.")
    return files


def _allowed_hosts(options: dict[str, Any]) -> tuple[str, ...]:
    for name in options["allowed_host"]:
        if not _HOST_NAME.fullmatch(name):
            raise BadSetting(
                f"--allowed-host {name!r} is not a host name. Give it without scheme and port, "
                "as in index.example or *.example, or * for any."
            )
    return tuple(options["allowed_host"])


def _proxies(options: dict[str, Any]) -> tuple[str, ...]:
    proxies = tuple(options["forwarded_allow_ips"].split(","))
    try:
        TrustedProxies(proxies)
    except ValueError as error:
        raise BadSetting(
            f"--forwarded-allow-ips: {error}. Give addresses and networks separated by commas, "
            "or * for all."
        ) from error
    return proxies


def _cache(options: dict[str, Any]) -> Path | None:
    if options["no_cache"]:
        if options["offline"] or options["cache_dir"]:
            other = "--offline" if options["offline"] else "--cache-dir"
            raise BadSetting(f"{other} and --no-cache cannot be used together.")
        return None
    folder: Path = (options["cache_dir"] or cache_folder()).absolute()
    if not may_be_cache(folder):
        raise BadSetting(f"--cache-dir {folder} {NOT_OURS}. Choose an empty or new directory.")
    return folder
