"""`simple-repository-server why PROJECT[==VERSION]`: why an index shows a project as it does."""

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from simple_repository_server.cli.commands import Command, refuse
from simple_repository_server.cli.given import given_by
from simple_repository_server.cli.refusal import load_or_refuse
from simple_repository_server.cli.serve import with_options
from simple_repository_server.cli.why_remote import CannotAsk, fetch_explanation
from simple_repository_server.config.load import BadSetting
from simple_repository_server.config.settings import Settings
from simple_repository_server.errors import InvalidName, RepositoryError
from simple_repository_server.explanation import Answered, Explanation, counted
from simple_repository_server.model import RULE
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import ignore
from simple_repository_server.observe.terminal import printable
from simple_repository_server.repository import Repository
from simple_repository_server.web.why import Why

#: How many names of one group of hidden files are listed.
_MAX_NAMES = 20
#: How long rules may take to become ready (to read advisories, say).
_READY_S = 60.0
_CHECK_S = 0.05


@click.command(cls=Command)
@click.argument("project", metavar="PROJECT[==VERSION]")
@click.option("--index", metavar="NAME", help="The index to ask.  [default: the default index]")
@click.option("--url", metavar="URL", help="Ask the running server at this address instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_options
@click.pass_context
def why(ctx: click.Context, /, **given: Any) -> None:
    """Explain why an index shows PROJECT, or one version of it, or does not.

    It says which sources were queried, which one provides the project, what each rule hides and
    when it will show it. Without --url it builds the index itself, as the server would: from the
    SOURCEs and options given here, in SRS_... variables or in the configuration file.

    The exit status is 0 if clients are shown a file, 1 if not, and 2 for an invalid argument or a
    server that cannot be asked.
    """
    name, _, version = given["project"].partition("==")
    version = version.removeprefix("=")  # PEP 440: `===`
    try:
        project = ProjectName(name.strip())
    except InvalidName as error:
        refuse(str(error))
    found = _answer(ctx, given, project, version.strip() or None)
    if given["as_json"]:
        click.echo(found.as_json(), nl=False)
    else:
        click.echo("\n".join(printable(line) for line in _lines(found)))
    sys.exit(0 if found.explanation.is_shown else 1)


def _answer(
    ctx: click.Context, given: dict[str, Any], project: ProjectName, version: str | None
) -> Why:
    if given["url"]:
        if ctx.get_parameter_source("source") is ParameterSource.COMMANDLINE:
            refuse("SOURCE and --url cannot be used together: the server has its own sources.")
        try:
            found = fetch_explanation(given["url"], given["index"], project, version)
        except CannotAsk as error:
            refuse(str(error))
    else:
        try:
            settings = _of_index(load_or_refuse(given_by(ctx)).settings, given["index"])
            found = asyncio.run(_explain(settings, project, version))
        except (BadSetting, RepositoryError) as error:
            refuse(str(error))
    return Why(project=project, version=version, explanation=found)


def _of_index(settings: Settings, name: str | None) -> Settings:
    """The settings with that index as the default one. Raises `BadSetting` for an unknown name."""
    if name is None:
        return settings
    for index in settings.indexes:
        if index.name == name:
            only = msgspec.structs.replace(index, default=True)
            return msgspec.structs.replace(settings, indexes=(only,))
    names = ", ".join(index.name for index in settings.indexes if index.name) or "none has a name"
    raise BadSetting(f"There is no index {name!r}. The indexes are: {names}.")


async def _explain(settings: Settings, project: ProjectName, version: str | None) -> Explanation:
    from simple_repository_server.wiring import build_repository  # slow to import

    async with build_repository(settings, ignore) as repository:
        deadline = time.monotonic() + _READY_S
        # Rules have no event to wait for.
        while _is_loading(repository) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_CHECK_S)
        return await repository.explain(project, version)


def _is_loading(repository: Repository) -> bool:
    """Whether a rule does not know yet whether it can be evaluated."""
    rules = [one for one in repository.source_states() if one.kind == RULE]
    return any(rule.available is None for rule in rules)


def _lines(why: Why) -> Iterator[str]:
    yield why.summary
    yield from _tree(why.explanation, "  ")


def _tree(node: Explanation, indent: str) -> Iterator[str]:
    facts = [counted(node.files, "file")] if node.answered is Answered.HAS else []
    facts += [fact for fact in (node.detail, node.freshness) if fact]
    yield f"{indent}{node.component}: {'; '.join([node.answered, *facts])}"
    for group in node.groups():
        yield f"{indent}  {group.heading()}"
        yield from (f"{indent}    {name}" for name in group.filenames[:_MAX_NAMES])
        if len(group.filenames) > _MAX_NAMES:
            yield f"{indent}    and {len(group.filenames) - _MAX_NAMES} more"
    for source in node.sources:
        yield from _tree(source, f"{indent}  ")
