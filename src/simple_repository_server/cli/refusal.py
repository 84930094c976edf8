"""How a server that does not start says why: each mistake is a line on stderr."""

import sys

import click

from simple_repository_server.cli.commands import REFUSED, refuse
from simple_repository_server.cli.given import Given
from simple_repository_server.cli.settings import Loaded, load
from simple_repository_server.config.load import BadSetting
from simple_repository_server.config.mistakes import Mistakes
from simple_repository_server.observe.terminal import printable


def load_or_refuse(given: Given) -> Loaded:
    """The settings; or exit with status 2, and on stderr a line for each mistake of a file."""
    try:
        return load(given)
    except Mistakes as error:
        for mistake in error.mistakes:
            click.echo(printable(str(mistake)), err=True)
        count = len(error.mistakes)
        many = f"There are {count} mistakes" if count > 1 else "There is a mistake"
        click.echo(f"Error: {many} in the settings. Nothing was started.", err=True)
        sys.exit(REFUSED)
    except BadSetting as error:
        refuse(str(error))
