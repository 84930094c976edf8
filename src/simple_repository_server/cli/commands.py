"""What all commands share: environment variables for options, and errors in one line."""

import sys
from typing import Any, NoReturn

import click
from typing_extensions import override

from simple_repository_server.observe.terminal import printable

#: The exit status for invalid input.
REFUSED = 2
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Command(click.Command):
    """A command whose options can be given as `SRS_…` variables, which its help lists.

    Invalid arguments are reported in one line on stderr, with exit status 2.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        named["context_settings"] = {**_SETTINGS, **(named.get("context_settings") or {})}
        super().__init__(*arguments, **named)
        for parameter in self.params:
            # Not for `--version` and `--help`: a variable would keep the command from running.
            if isinstance(parameter, click.Option) and parameter.expose_value:
                # Named after the option, so that it is the same for all commands.
                option = max(parameter.opts, key=len)
                parameter.envvar = f"SRS_{option.lstrip('-').upper().replace('-', '_')}"
                parameter.show_envvar = True

    @override
    def main(self, *arguments: Any, **named: Any) -> NoReturn:
        named["standalone_mode"] = False
        try:
            status: Any = super().main(*arguments, **named)
        except click.ClickException as error:
            context = error.ctx if isinstance(error, click.UsageError) else None
            where = f" See '{context.command_path} --help'." if context else ""
            text = " ".join(error.format_message().split())
            refuse(f"{text}{'' if text.endswith(('.', '?', ')')) else '.'}{where}")
        except click.Abort:
            sys.exit(1)
        sys.exit(status if isinstance(status, int) else 0)


class Group(Command, click.Group):
    """A command with sub-commands that behave like it."""

    command_class = Command


def refuse(text: str) -> NoReturn:
    """Exit with status 2 and one line on stderr, without characters that control a terminal."""
    click.echo(f"Error: {printable(text)}", err=True)
    sys.exit(REFUSED)
