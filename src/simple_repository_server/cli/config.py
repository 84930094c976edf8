"""`simple-repository-server config …`: checks and shows the configuration."""

import json
from collections.abc import Iterator
from typing import Any

import click

from simple_repository_server.cli.banner import describe, index_lines, rule_lines
from simple_repository_server.cli.commands import Group
from simple_repository_server.cli.given import given_by
from simple_repository_server.cli.refusal import load_or_refuse
from simple_repository_server.cli.serve import with_options
from simple_repository_server.cli.settings import Loaded
from simple_repository_server.config.settings import Settings
from simple_repository_server.config.show import as_json, as_toml, shown_settings
from simple_repository_server.observe.terminal import printable


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def group(ctx: click.Context) -> None:
    """Check and show the configuration.

    'check' and 'show' accept the arguments and variables of the server, and read its file; 'schema'
    is for editors.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@group.command("check")
@with_options
def check_command(**_options: Any) -> None:
    """Say ok and what would be served, or name every mistake (status 2). Nothing is started."""
    settings = load_or_refuse(given_by(click.get_current_context())).settings
    click.echo("\n".join(map(printable, _summary(settings))))


@group.command("show")
@with_options
@click.option("--json", "as_json_", is_flag=True, help="Print a JSON array.")
def show_command(*, as_json_: bool, **_options: Any) -> None:
    """Show every setting in force and where it is from. Secrets are masked."""
    loaded = load_or_refuse(given_by(click.get_current_context()))
    shown = _shown(loaded)
    click.echo(as_json(shown) if as_json_ else as_toml(shown))


@group.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of the file, for completion and checks in editors."""
    from simple_repository_server.config.schema import schema  # slow to import

    click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))


def _shown(loaded: Loaded) -> Any:
    settings = loaded.settings
    in_force: dict[str, Any] = {"files": settings.files.value, "cache_dir": settings.cache}
    if settings.max_connections is None:
        in_force["max_connections"] = "as the limit on open files allows"
    in_force["state_dir"] = settings.state
    options = {**loaded.options, **{k: v for k, v in in_force.items() if not loaded.options[k]}}
    return shown_settings(options, loaded.given.origins, loaded.keys, loaded.document)


def _summary(settings: Settings) -> Iterator[str]:
    file = settings.config
    yield f"ok: {file}" if file else "ok: no configuration file is used"
    yield "sources:"
    for at, source in enumerate(settings.sources):
        yield f"  {describe(source, settings)}"
        yield from rule_lines(settings.source_rules.get(at, ()), "    ")
    yield "indexes:"
    yield from index_lines(settings)
    used = {at for index in settings.indexes for at in index.sources}
    for at, source in enumerate(settings.sources):
        if settings.indexes and at not in used:
            yield f"note: no index uses the source {source.name}"
