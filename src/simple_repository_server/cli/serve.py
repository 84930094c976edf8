"""`simple-repository-server [options] [SOURCE ...]`: serve the sources as one index."""

import sys
from typing import Any, NoReturn

import click

from simple_repository_server.cli.banner import banner
from simple_repository_server.cli.processes import open_streams
from simple_repository_server.cli.server import PortTaken, serve
from simple_repository_server.config.load import BadSetting, digests_file, load_sources
from simple_repository_server.config.settings import DEFAULT_MEMORY_BYTES, Settings
from simple_repository_server.observe.logs import FORMATS, LEVELS
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
    "--stream-http-resources",
    is_flag=True,
    help="Send remote files through this server, instead of telling clients where they are.",
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
    help="Memory for pages and metadata.",
)
@click.option(
    "--log-format", type=click.Choice(FORMATS), default="text", show_default=True, help="Of stderr."
)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
@click.version_option(__version__, prog_name="simple-repository-server")
def command(source: tuple[str, ...], **options: Any) -> None:
    """Combine local directories and remote indexes into one Python package index.

    SOURCE is a directory of distribution files, the http(s) address of a simple index, or 'pypi'
    (a directory of that name is './pypi'). Their order is their priority: the first source that
    has a project owns it, with all its versions. Without any SOURCE, PyPI is served.
    """
    try:
        settings = Settings(
            sources=load_sources(source, forbidden_means_absent=options["forbidden_means_absent"]),
            host=options["host"],
            port=options["port"],
            stream=options["stream_http_resources"],
            memory_bytes=options["memory"] * _MB,
            log_format=options["log_format"],
            log_level=options["log_level"],
            digests=digests_file(),
        )
        serve(settings, lambda port: banner(settings, port, implicit=not source))
    except (BadSetting, PortTaken) as error:
        _refuse(str(error))


def _refuse(text: str) -> NoReturn:
    # One line, and nothing that a terminal would act on, whatever the user's words were.
    click.echo(f"Error: {''.join(c if c.isprintable() else '�' for c in text)}", err=True)
    sys.exit(2)


def main() -> None:
    """The entry point of the command."""
    open_streams()
    command(prog_name="simple-repository-server")
