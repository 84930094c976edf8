"""`simple-repository-server [options] [SOURCE ...]`: serve the sources as one index."""

import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from simple_repository_server.cache.freshness import STALE_IF_ERROR_S
from simple_repository_server.cli.banner import banner
from simple_repository_server.cli.listening import PortTaken
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
    DEFAULT_MEMORY_BYTES,
    DEFAULT_SHUTDOWN_TIMEOUT_S,
    DEFAULT_SMALL_FILE_BYTES,
    DEFAULT_STALE_WHILE_REVALIDATE_S,
    FILES,
    Settings,
)
from simple_repository_server.observe.logs import FORMATS, LEVELS
from simple_repository_server.storage.folder import NOT_OURS, may_be_cache
from simple_repository_server.version import __version__

_MB = 1024 * 1024


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("source", nargs=-1, metavar="[SOURCE]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 picks a free one and prints it.",
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
@click.option("--no-cache", is_flag=True, help="Keep nothing on disk.")
@click.option(
    "--cache-size",
    default=DEFAULT_CACHE_SIZE,
    show_default=True,
    metavar="SIZE",
    help="How much is kept.",
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
    type=click.IntRange(16, 1024 * 1024),
    default=DEFAULT_MEMORY_BYTES // _MB,
    show_default=True,
    metavar="MB",
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
@click.version_option(__version__, prog_name="simple-repository-server")
def command(source: tuple[str, ...], **options: Any) -> None:
    """Combine local directories and remote indexes into one Python package index.

    SOURCE is a directory of distribution files, the http(s) address of a simple index, or 'pypi'
    (a directory of that name is './pypi'). Their order is their priority: the first source that
    has a project owns it, with all its versions. Without any SOURCE, PyPI is served.

    To look after the cache: 'simple-repository-server cache info', 'clear', 'verify' or 'prune'
    (see 'simple-repository-server cache --help').
    """
    try:
        sources = load_sources(source, forbidden_means_absent=options["forbidden_means_absent"])
        settings = Settings(
            sources=sources,
            host=options["host"],
            port=options["port"],
            files=_files(options),
            workers=options["workers"],
            max_connections=options["max_connections"],
            shutdown_timeout_s=options["shutdown_timeout"],
            small_file_bytes=parse_size(options["small_files"], option="--small-files"),
            cache=_cache(options),
            cache_bytes=parse_size(options["cache_size"], option="--cache-size"),
            offline=options["offline"],
            egress=load_egress(
                sources,
                proxy=options["proxy"],
                ca_file=options["ca_file"],
                offline=options["offline"],
            ),
            stale_if_error_s=options["stale_if_error"],
            stale_while_revalidate_s=options["stale_while_revalidate"],
            memory_bytes=options["memory"] * _MB,
            log_format=options["log_format"],
            log_level=options["log_level"],
            digests=digests_file(),
        )
        serve(settings, lambda port: banner(settings, port, implicit=not source))
    except (BadSetting, PortTaken) as error:
        _refuse(str(error))


def _files(options: dict[str, Any]) -> str:
    files: str | None = options["files"]
    if options["stream_http_resources"]:
        if files not in (None, "stream"):
            raise BadSetting(f"--stream-http-resources and --files {files} exclude each other.")
        files = "stream"
    if files == "cache" and options["no_cache"]:
        raise BadSetting("--files cache and --no-cache exclude each other.")
    return files or FILES[0]


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


def _refuse(text: str) -> NoReturn:
    # One line, and nothing that a terminal would act on, whatever the user's words were.
    click.echo(f"Error: {''.join(c if c.isprintable() else '�' for c in text)}", err=True)
    sys.exit(2)
