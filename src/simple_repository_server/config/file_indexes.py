"""From the `[indexes.NAME]` tables of the file to indexes, with all checks of one index."""

from collections.abc import Mapping, Sequence

import msgspec

from simple_repository_server.config.file_model import IndexTable
from simple_repository_server.config.file_sources import BAD_NAME, NAME
from simple_repository_server.config.file_tables import checked, suggestion, tables_below
from simple_repository_server.config.mistakes import KeyPath, Report
from simple_repository_server.config.rule_conflicts import report_conflicts
from simple_repository_server.config.rule_settings import RuleKind
from simple_repository_server.config.rule_tables import Placed, RuleContext, read_rules
from simple_repository_server.config.settings import IndexSettings

#: First segments of addresses that are not those of an index.
ROUTES = ("simple", "resources", "why", "snapshot", "healthz", "readyz", "metrics")


class IndexContext(msgspec.Struct, frozen=True, kw_only=True):
    """What else an index depends on."""

    #: The names of all sources that the file has, valid or not.
    names: Sequence[str]
    #: The positions in `Settings.sources` of those that are valid.
    positions: Mapping[str, int]
    #: The top-level rules.
    common: Sequence[Placed]
    rules: RuleContext

    @property
    def report(self) -> Report:
        """Where mistakes go."""
        return self.rules.report


def read_indexes(data: object, context: IndexContext) -> tuple[IndexSettings, ...]:
    """The indexes of the file; one of all sources if it has none."""
    _check_owners(context.common, context.names, context.report, what="the sources are")
    tables = {} if data is None else tables_below(data, ("indexes",), context.report)
    if not tables:
        report_conflicts(context.common, context.report)
        return (
            IndexSettings(
                sources=tuple(context.positions.values()),
                rules=tuple(rule for rule, _ in context.common),
            ),
        )
    read: dict[str, IndexTable] = {}
    indexes: list[IndexSettings] = []
    for name, table in tables.items():
        where = ("indexes", name)
        own = table.get("rules") if isinstance(table, dict) else None
        rest = {k: v for k, v in table.items() if k != "rules"} if own is not None else table
        read[name] = checked(IndexTable, rest, where, context.report)
        rules = read_rules(own, (*where, "rules"), context.rules)
        indexes.append(_index(name, read[name], list(tables), rules, context))
    default = _default(read, context.report)
    return tuple(msgspec.structs.replace(one, default=one.name == default) for one in indexes)


def _index(
    name: str,
    read: IndexTable,
    indexes: Sequence[str],
    rules: Sequence[Placed],
    context: IndexContext,
) -> IndexSettings:
    where, report = ("indexes", name), context.report
    if not NAME.fullmatch(name):
        report.add(where, BAD_NAME)
    if name.lower() in ROUTES:
        report.add(where, f"/{name} is an address of the server itself; choose another name")
    given = context.names if read.sources is None else read.sources
    names = [one for one in given if one in context.names]
    if read.sources is not None:
        _check_sources(name, read.sources, indexes, context)
    _check_owners(rules, names, report, what=f"the sources of {name} are")
    report_conflicts([*context.common, *rules], report)
    return IndexSettings(
        name=name,
        sources=tuple(context.positions[one] for one in names if one in context.positions),
        rules=tuple(rule for rule, _ in [*context.common, *rules]),
        snapshots=bool(read.snapshots),
    )


def _check_sources(
    name: str, given: Sequence[str], indexes: Sequence[str], context: IndexContext
) -> None:
    where: KeyPath = ("indexes", name, "sources")
    report = context.report
    if not given:
        report.add(where, "it is empty; write the names of sources, or remove it to have them all")
    for at, source in enumerate(given):
        if source in given[:at]:
            report.add((*where, at), f"{source!r} is in the list twice; remove one")
        if source in context.names:
            continue
        if source == name:
            what = "an index cannot include itself; write the names of sources"
        elif source in indexes:
            what = f"{source!r} is an index; write the names of its sources instead"
        else:
            near = suggestion(source, context.names, what="the sources are")
            what = f"there is no source {source!r}; {near}"
        report.add((*where, at), what)


def _check_owners(
    rules: Sequence[Placed], names: Sequence[str], report: Report, *, what: str
) -> None:
    for rule, where in rules:
        if rule.kind is RuleKind.RESERVE and rule.owner not in names:
            near = suggestion(rule.owner, names, what=what)
            report.add((*where, "for"), f"there is no source {rule.owner!r} here; {near}")


def _default(read: Mapping[str, IndexTable], report: Report) -> str:
    """The name of the index that is at `/simple/`, too."""
    chosen = [name for name, table in read.items() if table.default]
    for name in chosen[1:]:
        text = f"{chosen[0]!r} is the default already; remove one of the two"
        report.add(("indexes", name, "default"), text)
    if chosen:
        return chosen[0]
    names = list(read)
    if len(names) > 1 or read[names[0]].default is False:
        report.add(("indexes", names[0]), "no index is at /simple/; write default = true in one")
    return names[0]
