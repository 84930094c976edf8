"""What the rules together make of a page: a pure function of the page, the time and the facts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from simple_repository_server.distributions.filenames import parse_version, version_of
from simple_repository_server.freshness import LimitedFreshness
from simple_repository_server.model import File, ProjectPage, ProjectStatus, Status
from simple_repository_server.policy.calls import hides_name, judged
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import Hidden, Outcome, Rule

#: Statuses from the one that restricts most; others restrict nothing.
_RESTRICTING = (Status.QUARANTINED, Status.ARCHIVED, Status.DEPRECATED)


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules decide about a page, beside the page that they show."""

    #: The files that are not shown by name, with the first rule that hides each, or conceals it.
    hidden: Mapping[str, Hidden] = {}
    #: The files that dry-run rules would hide, by name, with the first that would.
    reported: Mapping[str, Hidden] = {}
    #: How many files each rule hides by its label; dry-run rules apart.
    counts: Mapping[str, int] = {}
    #: How many files each dry-run rule would hide or change, by its label.
    dry_run_counts: Mapping[str, int] = {}
    #: For how many files a rule had to decide without an upload time.
    undated: int = 0
    #: When it will be another one (seconds since the epoch); None: not by itself.
    until: float | None = None


def evaluate(
    original: PageView, rules: Mapping[Rule, object], now: float
) -> tuple[ProjectPage, Evaluation]:
    """The page as the rules, each with its facts, show it at `now` (seconds since the epoch).

    Overlays come first: all rules judge the files as they leave them. A file is shown if no rule
    hides it, so the order of rules decides only which one is named.
    """
    view = original
    overlays = {rule: judged(rule, view, now, rules[rule]) for rule in rules if rule.overlay}
    view = _overlaid(view, overlays)
    others = {rule: judged(rule, view, now, rules[rule]) for rule in rules if not rule.overlay}
    changed = _overlaid(view, others)
    if changed is not view:  # a rule that is an overlay, too: the others judge what it leaves
        view = changed
        again = {rule: judged(rule, view, now, rules[rule]) for rule in others}
        others = {
            rule: msgspec.structs.replace(
                outcome,
                replaced=others[rule].replaced,
                status=others[rule].status,
                until=earliest(outcome.until, others[rule].until),
            )
            for rule, outcome in again.items()
        }
    outcomes = {**overlays, **others}
    decided = [(rule, outcomes[rule]) for rule in rules]
    hiding = [(rule, _hidden_by(rule, outcome, view)) for rule, outcome in decided]
    # What a dry run would do later changes the report, and not the page.
    limit = _limit(
        [
            (outcome, found)
            for (rule, found), (_, outcome) in zip(hiding, decided, strict=True)
            if not rule.dry_run
        ]
    )
    hidden = _by_name(view.files, [found for rule, found in hiding if not rule.dry_run])
    evaluation = Evaluation(
        hidden=hidden,
        reported=_by_name(view.files, [found for rule, found in hiding if rule.dry_run]),
        counts=_counts((rule, len(found)) for rule, found in hiding if not rule.dry_run),
        dry_run_counts=_counts(
            (rule, len(found.keys() | outcome.replaced.keys()))
            for (rule, found), (_, outcome) in zip(hiding, decided, strict=True)
            if rule.dry_run
        ),
        undated=sum(outcome.undated for _, outcome in decided),
        until=earliest(*(outcome.until for _, outcome in decided)),
    )
    return _page(original, view, hidden, limit), evaluation


def earliest(*moments: float | None) -> float | None:
    """The earliest of the moments, of which each may be None: never."""
    return min((moment for moment in moments if moment is not None), default=None)


def _limit(effective: Sequence[tuple[Outcome, Mapping[int, Hidden]]]) -> float | None:
    """When the page will be another one: a file is shown when the last rule does not hide it."""
    limits: list[float | None] = []
    for outcome, _ in effective:
        if not outcome.shown_at:
            limits.append(outcome.until)
        for at in outcome.shown_at:
            moments = [other.shown_at.get(at) for other, found in effective if at in found]
            if None not in moments:
                limits.append(max(moment for moment in moments if moment is not None))
    return earliest(*limits)


def _overlaid(view: PageView, outcomes: Mapping[Rule, Outcome]) -> PageView:
    """The view as overlays change it; the first one that changes a field decides on it."""
    effective = [outcome for rule, outcome in outcomes.items() if not rule.dry_run]
    changed: dict[int, File] = {}
    for outcome in effective:
        for position, file in outcome.replaced.items():
            original, before = view.files[position], changed.get(position)
            changed[position] = file if before is None else _merged(original, before, file)
    status = _status(view.page.status, effective)
    if not changed and status is view.page.status:
        return view
    files = tuple([changed.get(position, file) for position, file in enumerate(view.files)])
    return view.overlaid(_with_status(view.page, status), files)


def _with_status(page: ProjectPage, status: ProjectStatus | None) -> ProjectPage:
    return page if status is page.status else msgspec.structs.replace(page, status=status)


def _merged(original: File, first: File, second: File) -> File:
    """The first changed file, with what the second changes and the first does not."""
    fields = {
        name: getattr(second, name)
        for name in File.__struct_fields__
        if getattr(first, name) == getattr(original, name)
    }
    return msgspec.structs.replace(first, **fields)


def _status(own: ProjectStatus | None, outcomes: Iterable[Outcome]) -> ProjectStatus | None:
    """The status that restricts most among the overlays'; a quarantined project remains so."""
    found = [outcome.status for outcome in outcomes if outcome.status is not None]
    if not found or (own is not None and own.status is Status.QUARANTINED):
        return own
    first = min(found, key=lambda one: (*_RESTRICTING, one.status).index(one.status))
    return own if first == own else first


def _hidden_by(rule: Rule, outcome: Outcome, view: PageView) -> Mapping[int, Hidden]:
    """What the rule hides: also by its name alone, and all files of what it quarantines."""
    whole = hides_name(rule, view.project)
    status = outcome.status
    if whole is None and status is not None and status.status is Status.QUARANTINED:
        reason = f"{rule.label} hides all files of {view.project!r}: it is quarantined"
        reason += f" ({status.reason})." if status.reason else "."
        whole = Hidden(rule=rule.label, reason=reason, conceal=rule.conceal)
    found = outcome.hidden
    if whole is not None:
        found = {**dict.fromkeys(range(len(view.files)), whole), **found}
    return _concealed(found) if rule.conceal else found


def _concealed(found: Mapping[int, Hidden]) -> Mapping[int, Hidden]:
    # Many files have the same.
    concealed = {
        id(hidden): msgspec.structs.replace(hidden, conceal=True) for hidden in found.values()
    }
    return {position: concealed[id(hidden)] for position, hidden in found.items()}


def _by_name(
    files: tuple[File, ...], found: Iterable[Mapping[int, Hidden]]
) -> Mapping[str, Hidden]:
    """Why each file is hidden, by the first that conceals it, or else the first that hides it."""
    hidden: dict[str, Hidden] = {}
    for one in found:
        for position, why in one.items():
            name = files[position].filename
            if not hidden.setdefault(name, why).conceal and why.conceal:
                hidden[name] = why
    return hidden


def _counts(found: Iterable[tuple[Rule, int]]) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    for rule, number in found:
        if number:
            counts[rule.label] += number
    return counts


def _page(
    original: PageView, view: PageView, hidden: Mapping[str, Hidden], limit: float | None
) -> ProjectPage:
    """The page without what is hidden; the page itself if all of it is shown as it is."""
    page, files, versions = original.page, view.files, view.page.versions
    if hidden:
        files = tuple([file for file in files if file.filename not in hidden])
        versions = _shown_versions(view, hidden)
    status = view.page.status
    if files == page.files and versions == page.versions and status is page.status:
        if limit is None:
            return page
        files, versions = page.files, page.versions
    freshness = page.freshness if limit is None else LimitedFreshness(page.freshness, limit)
    return msgspec.structs.replace(
        page, files=files, versions=versions, status=status, freshness=freshness
    )


def _shown_versions(view: PageView, hidden: Mapping[str, Hidden]) -> tuple[str, ...]:
    """The page's versions but those of which only hidden files are left."""
    shown: set[object] = set()
    gone: set[object] = set()
    for file, version in zip(view.files, view.versions, strict=True):
        key = version_of(file.filename, view.project) if version is None else version
        (gone if file.filename in hidden else shown).add(key)
    gone -= shown
    parsed = view.parsed
    keys = [parsed.get(text) or parse_version(text) or text for text in view.page.versions]
    return tuple(
        [text for text, key in zip(view.page.versions, keys, strict=True) if key not in gone]
    )
