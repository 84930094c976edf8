"""The entry point: what is set up before the rest is imported, and which of the commands it is."""

import gc
import sys
from collections.abc import Sequence

from simple_repository_server.cli.early_signals import as_before, stop_at_once
from simple_repository_server.cli.streams import open_streams

CACHE = "cache"


def main() -> None:
    """Run the command with the arguments of the process."""
    stop_at_once()
    open_streams()
    arguments = sys.argv[1:]
    if is_about_cache(arguments):
        # It has no part in serving, which should start at once.
        from simple_repository_server.cli.cache import cache

        as_before()
        cache(arguments[1:], prog_name="simple-repository-server cache")
    # Hardly anything that is made while importing is garbage: looking for it took a tenth of the
    # time until the first answer. `serve` turns it on again.
    gc.disable()
    from simple_repository_server.cli.serve import command

    command(arguments, prog_name="simple-repository-server")


def is_about_cache(arguments: Sequence[str]) -> bool:
    """Whether this is the sub-command; a directory of that name is `./cache`."""
    return arguments[:1] == [CACHE]
