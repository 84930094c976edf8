"""From the `[[…rules]]` tables of the file to settings of rules, with all checks of one rule."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from simple_repository_server.config.file_model import RuleTable, keys_of
from simple_repository_server.config.file_tables import checked
from simple_repository_server.config.mistakes import KeyPath, Report, shown_key
from simple_repository_server.config.paths import path_in
from simple_repository_server.config.patterns import is_everything, pattern_problem, same_pattern
from simple_repository_server.config.rule_settings import RuleKind, RuleSettings
from simple_repository_server.errors import Malformed, os_reason
from simple_repository_server.model import Status
from simple_repository_server.policy.file_kinds import FileKind
from simple_repository_server.policy.undated import Undated
from simple_repository_server.policy.yank_list import read_yank_file

_KINDS = tuple(kind.value for kind in RuleKind)
_KEYS = set(keys_of(RuleTable))
_OF_PROJECTS = {"projects", "except"}
_OF_FILES = {"kinds", "larger-than", "smaller-than", "platforms"}
#: Rules whose value is a list of patterns, and whether these may have version specifiers.
_WITH_PATTERNS = {
    RuleKind.RESERVE: False,
    RuleKind.ALLOW: True,
    RuleKind.DENY: True,
    RuleKind.YANK: True,
    RuleKind.QUARANTINE: False,
}
#: Those that, with the pattern `*`, would leave nothing.
_HIDE_ALL = {RuleKind.DENY, RuleKind.QUARANTINE}
#: The keys of each kind, besides its own and those of every rule.
_OWN_KEYS = {
    RuleKind.RESERVE: {"for"},
    RuleKind.MIN_AGE: {"undated", "fast-lane"},
    RuleKind.FREEZE: {"undated"},
    RuleKind.ADVISORIES: {"ignore"},
}
#: No index is older.
_FIRST_YEAR = 2000
_ONLY = {"wheels": FileKind.WHEEL, "sdists": FileKind.SDIST}


class RuleContext(msgspec.Struct, frozen=True, kw_only=True):
    """What else the file says that a rule depends on."""

    report: Report
    #: What relative paths are relative to.
    folder: Path
    #: The time at which the file is read.
    now: datetime
    #: Whether `[advisories] osv` is given.
    has_advisories: bool


#: A rule, and where it is in the file.
Placed = tuple[RuleSettings, KeyPath]


def read_rules(tables: object, where: KeyPath, context: RuleContext) -> tuple[Placed, ...]:
    """The rules of the tables at `where`, without those that are wrong: these are reported."""
    if tables is None:
        return ()
    if not isinstance(tables, list):
        context.report.add(where, f"it must be tables; write [[{shown_key(where)}]] for each rule")
        return ()
    places = [(*where, at) for at in range(len(tables))]
    rules = [_rule(table, place, context) for table, place in zip(tables, places, strict=True)]
    return tuple((rule, place) for rule, place in zip(rules, places, strict=True) if rule)


def _rule(table: object, where: KeyPath, context: RuleContext) -> RuleSettings | None:
    report = context.report
    read = checked(RuleTable, table, where, report)
    keys = set(table) if isinstance(table, dict) else set()
    kinds = [key for key in keys if key in _KINDS]
    # Of a rule with an unknown key, that is most likely the kind, misspelt.
    unknown = keys - _KEYS
    if isinstance(table, dict) and len(kinds) != 1 and not (unknown and not kinds):
        report.add(where, _which_kind(sorted(kinds)))
    if report.has(where) and len(kinds) != 1:
        return None
    kind = RuleKind(kinds[0])
    _check_keys(kind, keys, where, report)
    _check_patterns(kind, read, where, report)
    _check_scope(read, where, report)
    _check_value(kind, read, where, context)
    return None if report.has(where) else _settings(kind, read, where, context)


def _which_kind(kinds: Sequence[str]) -> str:
    if not kinds:
        return f"no key says which rule it is; write exactly one of {', '.join(_KINDS)}"
    return f"{' and '.join(kinds)} are rules of their own; write a [[…rules]] table for each"


def _check_keys(kind: RuleKind, keys: set[str], where: KeyPath, report: Report) -> None:
    own = {kind.value, *_OWN_KEYS.get(kind, ())}
    scope = _OF_PROJECTS | _OF_FILES
    if kind is RuleKind.RESERVE:
        scope = set()
    elif kind in (RuleKind.STATUS, RuleKind.QUARANTINE):
        scope = _OF_PROJECTS
    others = set().union(*_OWN_KEYS.values())
    for key in sorted(keys & (others | _OF_PROJECTS | _OF_FILES) - own - scope):
        of = ", ".join(one for one in _OWN_KEYS if key in _OWN_KEYS[one])
        belongs = f"it is a key of {of}" if of else "it limits other rules"
        report.add((*where, key), f"{belongs}, and means nothing for {kind}; remove it")
    needed = {RuleKind.RESERVE: "for", RuleKind.STATUS: "projects"}.get(kind)
    if needed is not None and needed not in keys:
        what = "the source that owns the names" if needed == "for" else "patterns of projects"
        report.add(where, f'{kind} needs {what}; add the key "{needed}"')


def _check_patterns(kind: RuleKind, read: RuleTable, where: KeyPath, report: Report) -> None:
    values: dict[str, tuple[list[str] | None, bool]] = {
        "projects": (read.projects, kind is not RuleKind.STATUS),
        "except": (read.except_, True),
    }
    if kind in _WITH_PATTERNS:
        values[kind.value] = (_patterns(kind, read), _WITH_PATTERNS[kind])
    for key, (texts, versions) in values.items():
        if texts is None:
            continue
        if not texts:
            report.add((*where, key), _empty(kind, key))
        for at, text in enumerate(texts):
            problem = pattern_problem(text, versions=versions)
            if problem:
                report.add((*where, key, at), problem)
    for key, globs in (("platforms", read.platforms), ("ignore", read.ignore)):
        if globs is not None and not all(text.strip() for text in globs):
            report.add((*where, key), "one of its texts is empty; remove it")
        if globs is not None and not globs:
            report.add((*where, key), "it is empty; add to the list, or remove the key")


def _empty(kind: RuleKind, key: str) -> str:
    if key == RuleKind.ALLOW:
        return "it is empty, so the rule hides everything; add patterns, or remove the rule"
    if key == kind:
        return "it is empty, so the rule does nothing; add patterns, or remove the rule"
    return "it is empty; add patterns, or remove the key"


def _check_scope(read: RuleTable, where: KeyPath, report: Report) -> None:
    larger, smaller = read.larger_than, read.smaller_than
    if larger is not None and smaller is not None and larger >= smaller:
        report.add((*where, "smaller-than"), "no file is larger than larger-than and smaller than "
                   "this; correct one of them")  # fmt: skip
    if read.kinds is not None and not read.kinds:
        report.add((*where, "kinds"), "it is empty, so no file is meant; add kinds, or remove it")
    if any(is_everything(text) for text in read.except_ or ()):
        report.add((*where, "except"), "'*' excepts everything, so the rule does nothing; remove "
                   "it, or the rule")  # fmt: skip
    excepted = {same_pattern(text) for text in read.except_ or ()}
    for key, texts in (("projects", read.projects), ("allow", read.allow), ("deny", read.deny)):
        if texts and excepted and all(same_pattern(text) in excepted for text in texts):
            report.add((*where, "except"), f"it excepts all of {key}, so the rule does nothing; "
                       "remove the rule, or what is excepted")  # fmt: skip


def _check_value(kind: RuleKind, read: RuleTable, where: KeyPath, context: RuleContext) -> None:
    report, value = context.report, (*where, kind.value)
    if kind is RuleKind.FREEZE and read.freeze is not None:
        _check_freeze(read.freeze, value, context)
    if kind is RuleKind.MIN_AGE and read.min_age is not None:
        _check_min_age(read.min_age, value, context)
    if kind is RuleKind.ADVISORIES and not context.has_advisories:
        report.add(value, "it needs advisories; name their folder or zip archive: [advisories] osv")
    if read.fast_lane and not context.has_advisories:
        text = "it needs advisories; name their folder or zip archive: [advisories] osv, or remove"
        report.add((*where, "fast-lane"), f"{text} fast-lane")
    if kind is RuleKind.YANK_FILE and read.yank_file is not None:
        _check_yank_file(path_in(context.folder, read.yank_file), value, report)
    _check_everything(kind, read, value, report)


def _check_yank_file(path: Path, value: KeyPath, report: Report) -> None:
    if not path.is_file():
        report.add(value, f"{path} is not an existing file; correct the path")
        return
    try:
        read_yank_file(path)
    except OSError as error:
        report.add(value, f"{path} cannot be read: {os_reason(error)}; correct its permissions")
    except Malformed as error:
        report.add(value, f"{path}: {error}; correct the file")


def _check_freeze(moment: datetime, value: KeyPath, context: RuleContext) -> None:
    if moment > context.now:
        what = f"{_shown_time(moment)} is in the future, so the rule hides nothing"
        context.report.add(value, f"{what}; write a date that has passed, or remove the rule")
    if moment.year < _FIRST_YEAR:
        what = f"nothing is older than {moment.year}, so the rule hides everything"
        context.report.add(value, f"{what}; write a later date")


def _check_min_age(seconds: float, value: KeyPath, context: RuleContext) -> None:
    if not seconds:
        context.report.add(value, "0 hides nothing; write a duration, or remove the rule")
    if (context.now - timedelta(seconds=seconds)).year < _FIRST_YEAR:
        what = f"nothing is older than {_FIRST_YEAR}, so the rule hides everything"
        context.report.add(value, f"{what}; write a shorter duration")


def _check_everything(kind: RuleKind, read: RuleTable, value: KeyPath, report: Report) -> None:
    """A pattern for all projects leaves nothing, or does nothing."""
    projects = None if any(map(is_everything, read.projects or ())) else read.projects
    limits = (projects, read.kinds, read.larger_than, read.smaller_than, read.platforms)
    unlimited = not read.except_ and not read.dry_run and all(one is None for one in limits)
    patterns = _patterns(kind, read) or ()
    if kind is RuleKind.RESERVE and any(map(is_everything, patterns)):
        report.add(value, "'*' reserves every name, so no other source is ever queried; write the "
                   "names that belong to the source")  # fmt: skip
    if kind in _HIDE_ALL and unlimited and any(map(is_everything, patterns)):
        report.add(value, "'*' hides everything; limit the rule with projects, except, kinds, "
                   "larger-than, smaller-than or platforms")  # fmt: skip
    if kind is RuleKind.ALLOW and any(map(is_everything, patterns)):
        report.add(value, "'*' allows everything, so the rule does nothing; remove the rule")


def _patterns(kind: RuleKind, read: RuleTable) -> list[str] | None:
    if kind is RuleKind.STATUS:
        return read.projects
    return getattr(read, kind.value) if kind in _WITH_PATTERNS else None


def _settings(
    kind: RuleKind, read: RuleTable, where: KeyPath, context: RuleContext
) -> RuleSettings:
    file = None
    if read.yank_file is not None:
        file = path_in(context.folder, read.yank_file)
    scoped = read.projects is not None and kind is not RuleKind.STATUS
    return RuleSettings(
        kind=kind,
        label=_label(kind, read, where),
        patterns=tuple(_patterns(kind, read) or ()),
        owner=read.for_ or "",
        min_age_s=read.min_age or 0.0,
        at=read.freeze,
        undated=read.undated or Undated.REFUSE,
        fast_lane=bool(read.fast_lane),
        malicious_only=read.advisories == "malicious",
        ignore=tuple(read.ignore or ()),
        only=_ONLY[read.only] if read.only else None,
        status=Status(read.status) if read.status else None,
        file=file,
        reason=" ".join((read.reason or "").split()),
        dry_run=bool(read.dry_run),
        conceal=bool(read.conceal),
        projects=tuple(read.projects or ()) if scoped else None,
        exempt=tuple(read.except_ or ()),
        kinds=None if read.kinds is None else tuple(read.kinds),
        larger_than=read.larger_than,
        smaller_than=read.smaller_than,
        platforms=None if read.platforms is None else tuple(read.platforms),
    )


def _label(kind: RuleKind, read: RuleTable, where: KeyPath) -> str:
    """As in `min-age = "7 days" (indexes.main, rule 2)`."""
    at = where[-1]
    of = shown_key(where[:-2])
    place = f"{of}, rule" if of else "rule"
    number = at + 1 if isinstance(at, int) else at
    return f"{kind} = {_shown_value(kind, read)} ({place} {number})"


def _shown_value(kind: RuleKind, read: RuleTable) -> str:
    patterns = _patterns(kind, read)
    if patterns is not None and kind is not RuleKind.STATUS:
        few = [f'"{text}"' for text in patterns[:2]] + ["…"] * (len(patterns) > 2)  # noqa: PLR2004
        return f"[{', '.join(few)}]"
    if kind is RuleKind.MIN_AGE:
        return f'"{shown_duration(read.min_age or 0)}"'
    if kind is RuleKind.FREEZE:
        return _shown_time(read.freeze) if read.freeze else ""
    value: Any = getattr(read, kind.value.replace("-", "_"))
    return f'"{value}"'


def shown_duration(seconds: float) -> str:
    """`7 days`, `36 h`, `90 s`: in the largest unit that divides it."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and not seconds % size:
            count = int(seconds // size)
            return "1 day" if (unit, count) == ("days", 1) else f"{count} {unit}"
    return f"{seconds:g} s"


def _shown_time(moment: datetime) -> str:
    """The date alone at midnight, which is how dates are written."""
    if not (moment.hour or moment.minute or moment.second or moment.microsecond):
        return moment.date().isoformat()
    return moment.isoformat().replace("+00:00", "Z")
