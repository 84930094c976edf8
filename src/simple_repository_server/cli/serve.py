"""`simple-repository-server [options] [SOURCE ...]`: serve the sources as one index."""

import re
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
    FILES,
    MIN_CACHE_BYTES,
    MIN_MEMORY_BYTES,
    Settings,
)
from simple_repository_server.disk.ownership import NOT_OURS, may_be_cache
from simple_repository_server.observe.logs import FORMATS, LEVELS
from simple_repository_server.version import __version__
from simple_repository_server.web.server.forwarded import TrustedProxies

_HOST_NAME = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-][A-Za-z0-9._-]*")


@click.command(cls=Command)
@click.argument("source", nargs=-1, metavar="[SOURCE]...", envvar="SRS_SOURCES")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 picks a free one and prints it.",
)
@click.option(
    "--allowed-host",
    multiple=True,
    metavar="NAME",
    help="Answer requests for this name, or for what is below it (*.name). May be given more than "
    "once.  [default: 'localhost' if only this machine reaches it, else any]",
)
@click.option(
    "--forwarded-allow-ips",
    default=",".join(DEFAULT_FORWARDED_ALLOW_IPS),
    show_default=True,
    metavar="LIST",
    help="Proxies whose X-Forwarded-For, -Proto, -Host and -Prefix are believed: addresses and "
    "networks, with commas between them; '*' for anyone.",
)
@click.option(
    "--files",
    type=click.Choice(FILES),
    default=None,
    help="How clients get remote files: told where they are (the default), through this server, "
    "or through it and kept. Files of sources with credentials never go by redirect.",
)
@click.option("--stream-http-resources", is_flag=True, help="The same as --files stream.")
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where pages, metadata and files are kept. Several servers may share it.  [default: "
    "below the user's cache directory]",
)
@click.option("--no-cache", is_flag=True, help="Write nothing to disk.")
@click.option(
    "--cache-size",
    default=DEFAULT_CACHE_SIZE,
    show_default=True,
    metavar="SIZE",
    help="How much is kept, in bytes or with a unit.",
)
@click.option("--offline", is_flag=True, help="Ask no index: serve what is in the cache.")
@click.option(
    "--proxy",
    metavar="URL",
    help="HTTP proxy for requests to indexes, but not to hosts in NO_PROXY; 'none' connects "
    "directly.  [default: from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY]",
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Certificate authorities (PEM) to trust in addition to the system's.",
)
@click.option(
    "--stale-if-error",
    type=click.IntRange(0),
    default=int(STALE_IF_ERROR_S),
    show_default=True,
    metavar="SECONDS",
    help="How old a page may get while its index cannot be asked.",
)
@click.option(
    "--stale-while-revalidate",
    type=click.IntRange(0),
    default=int(DEFAULT_STALE_WHILE_REVALIDATE_S),
    show_default=True,
    metavar="SECONDS",
    help="How long a page that is no longer fresh is served while it is confirmed; never longer "
    "than its index said it was fresh.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes that answer requests.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    metavar="N",
    help="Connections of each process.  [default: as many as its limit on open files allows]",
)
@click.option(
    "--shutdown-timeout",
    type=click.IntRange(0),
    default=int(DEFAULT_SHUTDOWN_TIMEOUT_S),
    show_default=True,
    metavar="SECONDS",
    help="How long running requests may take to finish once it is told to stop.",
)
@click.option(
    "--small-files",
    default=f"{DEFAULT_SMALL_FILE_BYTES // 1000}kB",
    show_default=True,
    metavar="SIZE",
    help="Files up to this size are answered from memory; 0 for none.",
)
@click.option(
    "--forbidden-means-absent",
    multiple=True,
    metavar="SOURCE",
    help="Read status 403 of this source as 'no such project'. May be given more than once.",
)
@click.option(
    "--memory",
    default=f"{DEFAULT_MEMORY_BYTES // 1000**2}MB",
    show_default=True,
    metavar="SIZE",
    help="Memory for pages, metadata and small files.",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Log format.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="Log events of this level and above, to stderr; requests are 'info'.",
)
@click.option(
    "--debug-headers",
    is_flag=True,
    help="Send a Cache-Status header (RFC 9211): what the cache decided for each answer.",
)
@click.version_option(__version__, prog_name="simple-repository-server")
def command(source: tuple[str, ...], **options: Any) -> None:
    """Combine local directories and remote indexes into one Python package index.

    SOURCE is a directory of distribution files, the http(s) address of a simple index, or 'pypi'
    (a directory of that name is './pypi'). Their order is their priority: the first source that
    has a project owns it, with all its versions. Without any SOURCE, PyPI is served. Instead of
    arguments they may stand in SRS_SOURCES, with blanks between them. ${NAME} in an address is
    replaced by that environment variable: a place for passwords.

    To look after the cache: 'simple-repository-server cache', with 'info', 'clear', 'verify',
    'prune', 'refresh' or 'forget' (see 'simple-repository-server cache --help').
    """
    if source[:1] == (CACHE,):
        refuse(
            f"'{CACHE}' is a command, and comes before all options: simple-repository-server cache "
            f"--help. To serve a directory of that name, give './{CACHE}'."
        )
    try:
        sources = load_sources(source, forbidden_means_absent=options["forbidden_means_absent"])
        settings = Settings(
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
            cache_bytes=parse_size(
                options["cache_size"], option="--cache-size", least=MIN_CACHE_BYTES
            ),
            offline=options["offline"],
            egress=load_egress(
                sources,
                proxy=options["proxy"],
                ca_file=options["ca_file"],
                offline=options["offline"],
            ),
            stale_if_error_s=options["stale_if_error"],
            stale_while_revalidate_s=options["stale_while_revalidate"],
            memory_bytes=parse_size(options["memory"], option="--memory", least=MIN_MEMORY_BYTES),
            log_format=options["log_format"],
            log_level=options["log_level"],
            debug_headers=options["debug_headers"],
            digests=None if options["no_cache"] else digests_file(),
        )
        serve(settings, partial(banner, settings, implicit=not source))
    except (BadSetting, PortTaken) as error:
        refuse(by_their_variables(str(error), click.get_current_context()))


def _files(options: dict[str, Any]) -> str:
    files: str | None = options["files"]
    if options["stream_http_resources"]:
        if files not in (None, "stream"):
            raise BadSetting(f"--stream-http-resources and --files {files} exclude each other.")
        files = "stream"
    if files == "cache" and options["no_cache"]:
        raise BadSetting("--files cache and --no-cache exclude each other.")
    return files or FILES[0]


def _allowed_hosts(options: dict[str, Any]) -> tuple[str, ...]:
    for name in options["allowed_host"]:
        if not _HOST_NAME.fullmatch(name):
            raise BadSetting(
                f"--allowed-host {name!r} is no name of a host. Give it without scheme and port, "
                "as index.example, *.example or * for any."
            )
    return tuple(options["allowed_host"])


def _proxies(options: dict[str, Any]) -> tuple[str, ...]:
    proxies = tuple(options["forwarded_allow_ips"].split(","))
    try:
        TrustedProxies(proxies)
    except ValueError as error:
        raise BadSetting(
            f"--forwarded-allow-ips: {error}. Give addresses and networks with commas between "
            "them, or * for anyone."
        ) from error
    return proxies


def _cache(options: dict[str, Any]) -> Path | None:
    if options["no_cache"]:
        if options["offline"] or options["cache_dir"]:
            other = "--offline" if options["offline"] else "--cache-dir"
            raise BadSetting(f"{other} and --no-cache exclude each other.")
        return None
    folder: Path = (options["cache_dir"] or cache_folder()).absolute()
    if not may_be_cache(folder):
        raise BadSetting(f"--cache-dir {folder} {NOT_OURS}. Choose a folder of its own.")
    return folder
