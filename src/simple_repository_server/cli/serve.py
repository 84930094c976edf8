"""`simple-repository-server [options] [SOURCE ...]`: serve the sources as one index."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from simple_repository_server.cli.banner import banner
from simple_repository_server.cli.commands import Command, refuse
from simple_repository_server.cli.given import given_by
from simple_repository_server.cli.listening import PortTaken
from simple_repository_server.cli.main import COMMANDS
from simple_repository_server.cli.refusal import load_or_refuse
from simple_repository_server.cli.server import serve
from simple_repository_server.cli.settings import load_settings
from simple_repository_server.config.file_config import FILE_NAME
from simple_repository_server.config.load import BadSetting
from simple_repository_server.config.options import OPTIONS, Kind, Option
from simple_repository_server.version import __version__


class _Integer(click.IntRange):
    """An integer in a range, called just an integer in errors."""

    name = "integer"


def _type(option: Option) -> "click.ParamType[Any] | None":
    if option.kind in (Kind.INTEGER, Kind.SECONDS):
        return _Integer(option.least or 0, option.most)
    if option.kind is Kind.CHOICE:
        return click.Choice(option.choices)
    if option.kind is Kind.PATH:
        return click.Path(path_type=Path)
    return click.Path(file_okay=False, path_type=Path) if option.kind is Kind.FOLDER else None


def _click_option(option: Option) -> Callable[[Any], Any]:
    name = f"--{option.name}"
    if option.kind is Kind.FLAG:
        return click.option(name, is_flag=True, help=option.help)
    return click.option(
        name,
        type=_type(option),
        default=option.default,
        show_default=option.default is not None,
        multiple=option.kind is Kind.TEXTS,
        metavar=option.metavar,
        help=option.help,
    )


def with_options(function: Any) -> Any:
    """The function with the arguments and options of the server as parameters of a command."""
    for option in reversed(OPTIONS):
        function = _click_option(option)(function)
    function = click.option(
        "--config",
        metavar="FILE",
        help="Configuration file (TOML); 'none' uses none.  "
        f"[default: {FILE_NAME} in the working directory, if it exists]",
    )(function)
    return click.argument("source", nargs=-1, metavar="[SOURCE]...", envvar="SRS_SOURCES")(function)


@click.command(cls=Command)
@with_options
@click.version_option(__version__, prog_name="simple-repository-server")
def command(source: tuple[str, ...], **_options: Any) -> None:
    """Combine local directories and remote indexes into one Python package index.

    SOURCE is a directory of distribution files, the http(s) URL of a simple index, or 'pypi' (for
    a directory of that name, write './pypi'). Order is priority: the first source that has a
    project provides all its versions. Without any SOURCE, PyPI is served. Sources can also be
    given in SRS_SOURCES, separated by spaces. ${NAME} in a URL is replaced by that environment
    variable, so that passwords need not be written out.

    A configuration file names sources, rules and several indexes, and has every option; arguments
    and variables take precedence. 'simple-repository-server config' checks and shows it, and
    'simple-repository-server why' explains why a project or version is shown or missing.

    'simple-repository-server cache' inspects and maintains the cache: 'info', 'clear', 'verify',
    'prune', 'refresh' and 'forget' (see 'simple-repository-server cache --help').
    """
    if source and source[0] in COMMANDS:
        refuse(
            f"'{source[0]}' is a command and must precede all options: see "
            f"'simple-repository-server {source[0]} --help'. To serve a directory of that name, "
            f"give './{source[0]}'."
        )
    given = given_by(click.get_current_context())
    loaded = load_or_refuse(given)
    settings = loaded.settings
    implicit = not source and not any(one.name for one in settings.sources)
    try:
        serve(
            settings,
            partial(banner, settings, implicit=implicit),
            reload=partial(load_settings, given),
        )
    except (BadSetting, PortTaken) as error:
        refuse(loaded.with_places(str(error)))
