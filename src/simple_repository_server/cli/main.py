"""The entry point: prepares the process before the slow imports, and chooses the command."""

import gc
import sys
from collections.abc import Sequence

from simple_repository_server.cli.early_signals import as_before, stop_at_once
from simple_repository_server.cli.streams import open_streams

CACHE = "cache"
CONFIG = "config"
WHY = "why"
#: The first arguments that are commands, not a SOURCE.
COMMANDS = (CACHE, CONFIG, WHY)


def main() -> None:
    """Run the command with the arguments of the process."""
    stop_at_once()
    open_streams()
    arguments = sys.argv[1:]
    if is_about_cache(arguments):
        # Imported here, because it would delay the start of the server.
        from simple_repository_server.cli.cache import cache

        as_before()
        cache(arguments[1:], prog_name="simple-repository-server cache")
    if arguments[:1] == [CONFIG]:
        from simple_repository_server.cli.config import group

        as_before()
        group(arguments[1:], prog_name="simple-repository-server config")
    if arguments[:1] == [WHY]:
        from simple_repository_server.cli.why import why

        as_before()
        why(arguments[1:], prog_name="simple-repository-server why")
    # Imports create hardly any garbage, but collecting it took a tenth of the time until the first
    # response. `serve` enables the collector again.
    gc.disable()
    from simple_repository_server.cli.serve import command

    command(arguments, prog_name="simple-repository-server")


def is_about_cache(arguments: Sequence[str]) -> bool:
    """Whether the arguments are those of the `cache` sub-command."""
    return arguments[:1] == [CACHE]
