"""`simple-repository-server cache …`: inspecting and maintaining the cache on disk."""

import difflib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from typing_extensions import override

from simple_repository_server.cli.commands import REFUSED, Group, refuse
from simple_repository_server.cli.given import config_file
from simple_repository_server.config.document import read_document
from simple_repository_server.config.load import (
    BadSetting,
    cache_folder,
    parse_size,
    process_environment,
)
from simple_repository_server.config.paths import path_in
from simple_repository_server.config.settings import DEFAULT_CACHE_SIZE, MIN_CACHE_BYTES
from simple_repository_server.disk import projects
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.maintenance import (
    NotACache,
    Usage,
    check_is_cache,
    clear,
    free_bytes,
    prune,
    usage,
)
from simple_repository_server.disk.usage import Amount
from simple_repository_server.disk.verify import Damage, Verification, bytes_to_read
from simple_repository_server.errors import InvalidName, os_reason
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.progress import byte_bar
from simple_repository_server.observe.sizes import shown_size
from simple_repository_server.observe.terminal import printable

_DAY_S = 24 * 3600.0
_INTERRUPTED = 130
_NOTHING = "nothing is cached"


class _Commands(Group):
    """The commands, and how all of them end on errors and signals."""

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted. Remaining entries were left unchanged.", err=True)
            sys.exit(_INTERRUPTED)
        except (NotACache, BadSetting) as error:
            refuse(str(error))
        except BrokenPipeError:  # the reader has closed the pipe, as `| head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            refuse(f"{where}{os_reason(error)}.")

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, names = args[0], self.list_commands(ctx)
        if name.startswith("-") or name in names:
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, names, n=1)
        meant = f"Did you mean '{near[0]}'?" if near else f"The commands are {', '.join(names)}."
        raise BadSetting(
            f"'cache' has no command '{name}'. {meant} To serve a directory called 'cache', "
            "write './cache'."
        )


@click.group(cls=_Commands, invoke_without_command=True)
@click.pass_context
def cache(ctx: click.Context) -> None:
    """Inspect and maintain the cache on disk. Servers may use it at the same time.

    To serve a directory called 'cache', write './cache'.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(REFUSED)


_folder_option = click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The cache folder.  [default: that of the configuration file, or below the user's cache "
    "directory]",
)
_dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show what would be done without changing anything."
)
_project_argument = click.argument("project", nargs=-1, required=True, metavar="PROJECT...")


@cache.command("info")
@_folder_option
@click.option(
    "--cache-size",
    default=DEFAULT_CACHE_SIZE,
    show_default=True,
    metavar="SIZE",
    help="The budget to compare with.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info_command(cache_dir: Path | None, cache_size: str, *, as_json: bool) -> None:
    """Show how many entries of each kind there are, their size and their last use."""
    budget = parse_size(cache_size, option="--cache-size", least=MIN_CACHE_BYTES)
    disk = _disk(cache_dir)
    exists = check_is_cache(disk.folder)
    found, free = usage(disk), free_bytes(disk.folder)
    if as_json:
        facts = {
            "folder": printable(disk.folder),
            "exists": exists,
            "budget_bytes": budget,
            "free_bytes": free,
            **msgspec.structs.asdict(found),
        }
        click.echo(msgspec.json.encode(facts))
    elif not exists:
        click.echo(f"The cache is empty. It would be at {printable(disk.folder)}")
    else:
        click.echo("\n".join(_description(disk.folder, found, budget, free)))


@cache.command("clear")
@_folder_option
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def clear_command(cache_dir: Path | None, *, yes: bool) -> None:
    """Remove all entries."""
    disk = _existing(cache_dir)
    total = usage(disk).total
    what = f"{_amount(total)} from the cache at {printable(disk.folder)}"
    if not yes:
        if not sys.stdin.isatty():
            refuse(f"this removes {what}. Confirm with --yes, as there is no terminal.")
        if not click.confirm(f"Remove {what}?", err=True):
            click.echo("Nothing was removed.")
            sys.exit(1)
    cleared = clear(disk)
    click.echo(f"Removed {_amount(cleared)} from the cache at {printable(disk.folder)}")
    if cleared.failed:
        click.echo(f"{_count(cleared.failed)} could not be removed.", err=True)
        sys.exit(1)


@cache.command("verify")
@_folder_option
@_dry_run_option
def verify_command(cache_dir: Path | None, *, dry_run: bool) -> None:
    """Read all entries, and remove those that are corrupt.

    The status is 1 if damage remains, as it does with --dry-run.
    """
    disk = _existing(cache_dir)
    found = repaired = 0
    with _progress(disk) as advance:
        verification = Verification(disk, dry_run=dry_run, advance=advance)
        with closing(verification.run()) as damages:
            for damage in damages:
                found += 1
                repaired += bool(damage.repair)
                click.echo(_line(damage))
    for name in verification.foreign():
        click.echo(f"{printable(disk.folder / name)}: does not belong to the cache; left unchanged")
    checked = f"Checked {_count(verification.files)}"
    if not found:
        click.echo(f"{checked}: no damage found.")
    else:
        state = "nothing was changed" if dry_run else f"{repaired} repaired"
        click.echo(f"{checked}: {found} damaged, {state}.")
    sys.exit(0 if repaired == found else 1)


@cache.command("prune")
@_folder_option
@click.option(
    "--cache-size",
    metavar="SIZE",
    help="Evict least recently used entries until the cache is at most SIZE.",
)
@click.option(
    "--unused-for",
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Evict entries that were not used for DAYS.",
)
@_dry_run_option
def prune_command(
    cache_dir: Path | None, cache_size: str | None, unused_for: float | None, *, dry_run: bool
) -> None:
    """Evict entries, least recently used first.

    Entries used within the last seconds stay. Garbage of crashed servers, and links and project
    records whose file was removed, are removed in any case.
    """
    max_bytes = None if cache_size is None else _wanted_size(cache_size)
    unused_s = None if unused_for is None else unused_for * _DAY_S
    disk = _existing(cache_dir)
    result = prune(disk, max_bytes=max_bytes, unused_s=unused_s, dry_run=dry_run)
    verb = "Would remove" if dry_run else "Removed"
    garbage = f" and {_amount(result.garbage)} of garbage" if result.garbage.files else ""
    click.echo(f"{verb} {_amount(result.evicted)}{garbage}; {_amount(result.left)} left.")


@cache.command("refresh")
@_folder_option
@_project_argument
def refresh_command(cache_dir: Path | None, project: tuple[str, ...]) -> None:
    """Revalidate the pages of projects before they are served again.

    Also those that running servers have in memory. While an index is down, its pages are served
    stale as before.
    """
    names = _names(project)
    disk = _existing(cache_dir)
    for name in names:
        pages = projects.refresh(disk, name)
        found = f"{pages} page{'' if pages == 1 else 's'} will be revalidated"
        click.echo(f"{name}: {found if pages else _NOTHING}")


@cache.command("forget")
@_folder_option
@_project_argument
def forget_command(cache_dir: Path | None, project: tuple[str, ...]) -> None:
    """Remove the pages, negative entries and metadata of projects.

    Also from the memory of running servers. Files stay until they are evicted: they are found by
    their digests if a page lists them again.
    """
    names = _names(project)
    disk = _existing(cache_dir)
    for name in names:
        count = projects.forget(disk, name)
        click.echo(f"{name}: {f'removed {_count(count)}' if count else _NOTHING}")


def _names(texts: tuple[str, ...]) -> list[ProjectName]:
    try:
        return [ProjectName(text) for text in texts]
    except InvalidName as error:
        raise BadSetting(str(error)) from error


def _wanted_size(text: str) -> int:
    """A size, which may be small, unless the reason is that its unit was forgotten."""
    size = parse_size(text, option="--cache-size")
    if size and text.strip().isdecimal():
        return parse_size(text, option="--cache-size", least=MIN_CACHE_BYTES)
    return size


def _disk(cache_dir: Path | None) -> CacheFolder:
    return CacheFolder((cache_dir or _configured() or cache_folder()).absolute())


def _configured() -> Path | None:
    """The folder of the cache in the configuration file, if there is one. Raises `BadSetting`."""
    file = config_file(process_environment().get("SRS_CONFIG") or None)
    if file is None:
        return None
    data = read_document(file).data
    table = data.get("cache")
    text = data.get("cache-dir") or (table.get("dir") if isinstance(table, dict) else None)
    return path_in(file.parent, text) if isinstance(text, str) else None


def _existing(cache_dir: Path | None) -> CacheFolder:
    """The cache; if there is none, the command ends with a message and status 0."""
    disk = _disk(cache_dir)
    if not check_is_cache(disk.folder):
        click.echo(f"Nothing to do: there is no cache at {printable(disk.folder)}")
        sys.exit(0)
    return disk


@contextmanager
def _progress(disk: CacheFolder) -> Iterator[Callable[[int], object]]:
    """A progress bar if stderr is a terminal."""
    if sys.stderr.isatty():
        with byte_bar(sys.stderr, "reading the cache", bytes_to_read(disk)) as advance:
            yield advance
    else:
        yield lambda _: None


def _description(folder: Path, found: Usage, budget: int, free: int) -> Iterator[str]:
    yield f"Cache at {printable(folder)}"
    yield ""
    for kind, amount in (*found.kinds.items(), ("total", found.total)):
        yield f"{kind:<10}{amount.files:>10}{shown_size(amount.bytes):>12}"
    yield ""
    yield f"{'budget':<22}{found.total.bytes / budget:.1%} of {shown_size(budget)}"
    if found.oldest_use is not None and found.newest_use is not None:
        yield f"{'least recently used':<22}{_when(found.oldest_use)}"
        yield f"{'most recently used':<22}{_when(found.newest_use)}"
    yield f"{'cached projects':<22}{found.served.files} ({shown_size(found.served.bytes)})"
    yield f"{'partial files':<22}{found.partial.files} ({shown_size(found.partial.bytes)})"
    yield f"{'free disk space':<22}{shown_size(free)}"


def _line(damage: Damage) -> str:
    done = damage.repair
    if damage.failure:
        done = f"could not be repaired ({damage.failure})"
    return f"{printable(damage.path)}: {damage.reason}{done and '; '}{done}"


def _amount(amount: Amount) -> str:
    return f"{_count(amount.files)} ({shown_size(amount.bytes)})"


def _count(files: int) -> str:
    return f"{files:,} file{'' if files == 1 else 's'}"


def _when(used_at: float) -> str:
    text = datetime.fromtimestamp(used_at, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    days = max(0, int((time.time() - used_at) // _DAY_S))
    return f"{text} ({'today' if not days else f'{days} days ago'})"
