"""Reads the configuration file: everything it says, or all of its mistakes at once."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simple_repository_server.config.document import Document, read_document
from simple_repository_server.config.file_config import FileConfig
from simple_repository_server.config.file_indexes import IndexContext, read_indexes
from simple_repository_server.config.file_model import (
    TABLES,
    AdvisoriesTable,
    AuditTable,
    CacheTable,
    OptionsTable,
    SourceTable,
)
from simple_repository_server.config.file_sources import (
    ReadSource,
    SourceContext,
    check_written_out,
    read_source,
    report_same_sources,
)
from simple_repository_server.config.file_tables import checked, suggestion, tables_below
from simple_repository_server.config.load import process_environment
from simple_repository_server.config.mistakes import KeyPath, Mistakes
from simple_repository_server.config.options import OPTIONS, Kind
from simple_repository_server.config.paths import path_in
from simple_repository_server.config.rule_conflicts import report_conflicts
from simple_repository_server.config.rule_settings import RuleKind, RuleSettings
from simple_repository_server.config.rule_tables import RuleContext, read_rules
from simple_repository_server.config.secrets import filled_proxy, password_in

#: Returns what is wrong with a folder or archive of advisories, as sentences; blocks.
CheckAdvisories = Callable[[Path], Sequence[str]]


def read_config(
    path: Path,
    *,
    environment: Mapping[str, str] | None = None,
    check_advisories: CheckAdvisories | None = None,
    now: datetime | None = None,
) -> FileConfig:
    """What the file says. Blocks while it reads files. Raises `Mistakes` with all that is wrong.

    `environment` replaces `${NAME}` (default: that of the process); `check_advisories` says what is
    wrong with the folder of advisories; `now` is the time by which dates are in the future.
    """
    document = read_document(path)
    config = read_tables(
        document,
        environment=process_environment() if environment is None else environment,
        check_advisories=check_advisories,
        now=now,
    )
    found = document.mistakes()
    if found:
        raise Mistakes(found)
    return config


def read_tables(
    document: Document,
    *,
    environment: Mapping[str, str],
    check_advisories: CheckAdvisories | None = None,
    now: datetime | None = None,
) -> FileConfig:
    """What the document says, without what is wrong: that is added to its report."""
    data, report = document.data, document.report
    paths = SourceContext(report=report, environment=environment, file=document.path)
    options, keys = _options(document, paths)
    osv, audit = _osv(data, paths, check_advisories), _audit(data, paths)
    context = RuleContext(
        report=report,
        folder=document.folder,
        now=now or datetime.now(UTC),
        has_advisories=_has(data, "advisories", "osv"),
    )
    sources, rules = _sources(data.get("sources"), paths, context)
    positions = {one.source.name: at for at, one in enumerate(sources)}
    names = list(data["sources"]) if isinstance(data.get("sources"), dict) else []
    indexes = read_indexes(
        data.get("indexes"),
        IndexContext(
            names=names,
            positions=positions,
            common=read_rules(data.get("rules"), ("rules",), context),
            rules=context,
        ),
    )
    _check_absent(options, names, document)
    return FileConfig(
        path=document.path,
        options=options,
        keys=keys,
        sources=tuple(one.source for one in sources),
        own_egress={at: one.own for at, one in enumerate(sources) if one.own is not None},
        source_rules={positions[name]: found for name, found in rules.items() if found},
        indexes=indexes,
        osv=osv,
        audit=audit,
    )


def _has(data: Mapping[str, Any], table: str, key: str) -> bool:
    return isinstance(data.get(table), dict) and key in data[table]


def _options(document: Document, paths: SourceContext) -> tuple[dict[str, Any], dict[str, KeyPath]]:
    """The options that the file sets, and the key of each; `[cache]` is another way for two."""
    data, report = document.data, document.report
    top = {key: value for key, value in data.items() if key not in TABLES}
    read: Any = checked(OptionsTable, top, (), report)
    cache = CacheTable()
    if "cache" in data:
        cache = checked(CacheTable, data["cache"], ("cache",), report)
    values = {name: getattr(read, name) for name in read.model_fields_set}
    keys: dict[str, KeyPath] = {
        option.parameter: (option.name,) for option in OPTIONS if option.parameter in values
    }
    for name in cache.model_fields_set:
        parameter = f"cache_{name}"
        if parameter in values:
            text = f"cache-{name} at the top says the same; remove one of them"
            report.add(("cache", name), text)
        values[parameter] = getattr(cache, name)
        keys[parameter] = ("cache", name)
    for option in OPTIONS:
        value = values.get(option.parameter)
        if option.kind in (Kind.PATH, Kind.FOLDER) and value is not None:
            values[option.parameter] = path_in(document.folder, value).absolute()
        elif option.kind is Kind.SIZE and value is not None:
            values[option.parameter] = str(value)
        elif option.kind is Kind.TEXTS and value is not None:
            values[option.parameter] = tuple(value)
    if "proxy" in values:
        check_written_out(password_in(values["proxy"]), ("proxy",), paths)
        try:
            values["proxy"] = filled_proxy(values["proxy"], paths.environment)
        except ValueError as error:
            report.add(("proxy",), str(error))
    return values, keys


def _check_absent(options: Mapping[str, Any], names: Sequence[str], document: Document) -> None:
    """Those of `forbidden-means-absent` are sources of the file, if it has any."""
    for at, name in enumerate(options.get("forbidden_means_absent", ())):
        if names and name not in names:
            near = suggestion(name, names, what="the sources are")
            text = f"there is no source of that name; {near}"
            document.report.add(("forbidden-means-absent", at), text)


def _sources(
    data: object, paths: SourceContext, context: RuleContext
) -> tuple[list[ReadSource], dict[str, tuple[RuleSettings, ...]]]:
    report = context.report
    found: list[ReadSource] = []
    rules: dict[str, tuple[RuleSettings, ...]] = {}
    tables = {} if data is None else tables_below(data, ("sources",), report)
    for name, table in tables.items():
        where: KeyPath = ("sources", name)
        own = table.get("rules") if isinstance(table, dict) else None
        rest = {k: v for k, v in table.items() if k != "rules"} if own is not None else table
        read = checked(SourceTable, rest, where, report)
        placed = read_rules(own, (*where, "rules"), context)
        for rule, at in placed:
            if rule.kind is RuleKind.RESERVE:
                text = "names are reserved against other sources; move the rule to an index, or "
                report.add((*at, "reserve"), text + "to the top: [[rules]]")
        report_conflicts(placed, report)
        if not isinstance(rest, dict):
            continue
        source = read_source(name, set(rest), read, paths)
        if source is not None:
            rules[name] = tuple(rule for rule, _ in placed)
            found.append(source)
    if data is not None and not tables and not report.has(("sources",)):
        report.add(("sources",), "it has no source; add [sources.NAME], or remove it")
    report_same_sources(found, report)
    return found, rules


def _osv(
    data: Mapping[str, Any], paths: SourceContext, check: CheckAdvisories | None
) -> Path | None:
    if "advisories" not in data:
        return None
    where: KeyPath = ("advisories", "osv")
    read = checked(AdvisoriesTable, data["advisories"], ("advisories",), paths.report)
    if not read.osv:
        if not paths.report.has(("advisories",)):
            paths.report.add(where, "it is missing; write the path of a folder or zip archive")
        return None
    path = paths.path(read.osv).absolute()
    if not path.exists():
        paths.report.add(where, f"{path} does not exist; write the path of a folder or zip archive")
    elif check is not None:
        for text in check(path):
            paths.report.add(where, text)
    return path


def _audit(data: Mapping[str, Any], paths: SourceContext) -> Path | None:
    if "audit" not in data:
        return None
    where: KeyPath = ("audit", "file")
    read = checked(AuditTable, data["audit"], ("audit",), paths.report)
    if not read.file:
        if not paths.report.has(("audit",)):
            paths.report.add(where, "it is missing; write the path of a file")
        return None
    path = paths.path(read.file).absolute()
    if path.is_dir() or not path.parent.is_dir():
        what = "is a directory" if path.is_dir() else "is in a directory that does not exist"
        paths.report.add(where, f"{path} {what}; write the path of a file in an existing directory")
    return path
