"""Rules that contradict each other: each pair is one mistake, reported at the second rule."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase, translate

from simple_repository_server.config.mistakes import KeyPath, Report
from simple_repository_server.config.patterns import name_of, same_pattern
from simple_repository_server.config.rule_settings import RuleKind, RuleSettings
from simple_repository_server.config.rule_tables import Placed

#: Of these, a second rule with the same scope is pointless: only the stricter one counts.
_ONCE = (RuleKind.FREEZE, RuleKind.MIN_AGE)


def report_conflicts(rules: Sequence[Placed], report: Report) -> None:
    """Report what contradicts among rules that hold together (those of an index, or a source)."""
    # What is only tried out may contradict what holds.
    serious = [placed for placed in rules if not placed[0].dry_run]
    _allowed_and_denied(serious, report)
    _reserved_twice(serious, report)
    _reserved_by_globs(serious, report)
    _only_two_kinds(serious, report)
    _twice(serious, report)


def _allowed_and_denied(rules: Sequence[Placed], report: Report) -> None:
    allowing = [rule for rule, _ in rules if rule.kind is RuleKind.ALLOW]
    if not allowing:
        return
    denied: dict[str, tuple[str, KeyPath]] = {}
    for rule, where in rules:
        if rule.kind is RuleKind.DENY and not _is_limited(rule):
            for at, text in enumerate(rule.patterns):
                denied.setdefault(same_pattern(text), (text, (*where, "deny", at)))
    has_infixes = any(glob.startswith("*") and glob.endswith("*") for glob in denied)
    for rule in allowing:
        for text in rule.patterns:
            whole, name = same_pattern(text), same_pattern(name_of(text))
            covering = {whole, *_covering(name, infixes=has_infixes)} & denied.keys()
            for deny, place in sorted(denied[glob] for glob in covering):
                which = "it" if same_pattern(deny) == whole else repr(text)
                what = f"{deny!r} is denied here, and {which} is allowed by {rule.label}"
                report.add(place, f"{what}; remove one of them")


def _covering(glob: str, *, infixes: bool) -> Iterator[str]:
    """The glob, and those with a `*` at an end that match all that it matches."""
    yield glob
    for at in range(len(glob) + 1):
        yield f"{glob[:at]}*"
        yield f"*{glob[at:]}"
        if infixes:
            yield from (f"*{glob[at:end]}*" for end in range(at + 1, len(glob) + 1))


def _reserved_twice(rules: Sequence[Placed], report: Report) -> None:
    owners: dict[str, str] = {}
    for rule, where in rules:
        if rule.kind is not RuleKind.RESERVE:
            continue
        for at, text in enumerate(rule.patterns):
            owner = owners.setdefault(same_pattern(text), rule.owner)
            if owner != rule.owner:
                what = f"{text!r} is reserved for {owner!r} already"
                report.add(
                    (*where, "reserve", at), f"{what}; names belong to one source: remove one"
                )


def _reserved_by_globs(rules: Sequence[Placed], report: Report) -> None:
    """A name or glob that a glob of another owner covers: no source could serve it."""
    globs: dict[str, list[str]] = {}
    for rule, _ in rules:
        if rule.kind is RuleKind.RESERVE:
            some = [same_pattern(text) for text in rule.patterns]
            globs.setdefault(rule.owner, []).extend(one for one in some if set(one) & set("*?"))
    for owner, some in globs.items():
        covers = re.compile("|".join(map(translate, some)) or r"(?!)").match
        for rule, where in rules:
            if rule.kind is not RuleKind.RESERVE or rule.owner == owner:
                continue
            for at, text in enumerate(rule.patterns):
                same = same_pattern(text)
                if same not in some and covers(same):
                    glob = next(one for one in some if fnmatchcase(same, one))
                    what = f"{text!r} is reserved for {owner!r} by {glob!r}, too"
                    report.add(
                        (*where, "reserve", at),
                        f"{what}, so no source would be queried; make the two patterns disjoint",
                    )


def _only_two_kinds(rules: Sequence[Placed], report: Report) -> None:
    seen: dict[object, RuleSettings] = {}
    for rule, where in rules:
        if rule.kind is RuleKind.ONLY:
            first = seen.setdefault(_scope(rule), rule)
            if first.only != rule.only:
                text = f"together with {first.label} it hides every file; remove one of them"
                report.add((*where, "only"), text)


def _twice(rules: Sequence[Placed], report: Report) -> None:
    """A second freeze or minimum age with the same scope, in the same list of rules."""
    seen: dict[object, str] = {}
    for rule, where in rules:
        if rule.kind in _ONCE:
            first = seen.setdefault((rule.kind, where[:-1], _scope(rule)), rule.label)
            if first != rule.label:
                text = f"{first} is about the same files, and only the stricter one counts"
                report.add((*where, rule.kind.value), f"{text}; remove one of them")


def _scope(rule: RuleSettings) -> tuple[object, ...]:
    """What the rule is about, equal for two rules about the same files."""

    def same(patterns: Sequence[str] | None) -> frozenset[str] | None:
        return None if patterns is None else frozenset(map(same_pattern, patterns))

    kinds = None if rule.kinds is None else frozenset(rule.kinds)
    platforms = None if rule.platforms is None else frozenset(rule.platforms)
    sizes = (rule.larger_than, rule.smaller_than)
    return (same(rule.projects), same(rule.exempt), kinds, platforms, *sizes)


def _is_limited(rule: RuleSettings) -> bool:
    return _scope(rule) != (None, frozenset(), None, None, None, None)
