"""From the settings of rules to rules: the one table from kind to class."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simple_repository_server.advisories.advisories import Advisories
from simple_repository_server.config.rule_settings import RuleKind, RuleSettings
from simple_repository_server.config.settings import Settings
from simple_repository_server.observe.events import Emit
from simple_repository_server.policy.advisory_rule import AdvisoryRule
from simple_repository_server.policy.age import MinimumAgeRule
from simple_repository_server.policy.allow import AllowRule
from simple_repository_server.policy.deny import DenyRule
from simple_repository_server.policy.file_kind_rule import FileKindRule
from simple_repository_server.policy.first_seen import FirstSeen
from simple_repository_server.policy.freeze import FreezeRule
from simple_repository_server.policy.patterns import Patterns
from simple_repository_server.policy.pre_releases import PreReleaseRule
from simple_repository_server.policy.quarantine import QuarantineOverlay
from simple_repository_server.policy.rule import Rule
from simple_repository_server.policy.scope import Scope
from simple_repository_server.policy.status_overlay import StatusOverlay
from simple_repository_server.policy.undated import Undated
from simple_repository_server.policy.yank_file_overlay import YankFileOverlay
from simple_repository_server.policy.yank_overlay import YankOverlay
from simple_repository_server.policy.yanked import YankedRule
from simple_repository_server.wiring.parts import Parts

#: Of 10,000 rules nearly all have none.
_NO_SCOPE = Scope()


class RuleBuilder:
    """Makes rules from their settings; `parts` holds what they share, and equal rules are one."""

    def __init__(self, settings: Settings, parts: Parts, emit: Emit) -> None:
        self._settings = settings
        self._parts = parts
        self._emit = emit

    def rules(self, settings: Sequence[RuleSettings]) -> tuple[Rule, ...]:
        """The rules in their order, without reservations: these are about sources."""
        return tuple(self._rule(one) for one in settings if one.kind is not RuleKind.RESERVE)

    def patterns(self, texts: tuple[str, ...]) -> Patterns:
        """The patterns, parsed once, whichever rule has them and whatever it is called."""
        return self._parts.get((Patterns, texts), lambda: Patterns(texts))

    def _rule(self, one: RuleSettings) -> Rule:
        key = (Rule, one, self._settings.osv, self._settings.state)
        return self._parts.get(key, lambda: self._made(one))

    def _made(self, one: RuleSettings) -> Rule:
        common = {
            "label": one.label,
            "reason": one.reason,
            "scope": _scope(one),
            "dry_run": one.dry_run,
            "conceal": one.conceal,
        }
        return _BUILDERS[one.kind](self, one, common)

    def advisories(self) -> Advisories:
        """The advisories of the process. Raises `ValueError` if the settings name none."""
        path, state = self._settings.osv, self._settings.state
        if path is None:
            raise ValueError("a rule needs advisories, and [advisories] osv is not set")
        return self._parts.get(
            (Advisories, path, state), lambda: Advisories(path, state=state, emit=self._emit)
        )

    def undated(self, one: RuleSettings) -> Mapping[str, Any]:
        """What a rule about times does with files without one.

        Without a folder for state the times of files first seen end with the process: after a
        restart these files are new again, and hidden for longer, never for a shorter time.
        """
        if one.undated is not Undated.FIRST_SEEN:
            return {"undated": one.undated}
        state = self._settings.state
        path = None if state is None else state / "first-seen.sqlite"
        first_seen = self._parts.get((FirstSeen, path), lambda: FirstSeen(path, emit=self._emit))
        return {"undated": one.undated, "first_seen": first_seen}

    def min_age(self, one: RuleSettings, common: Mapping[str, Any]) -> Rule:
        """A cooldown, perhaps with a fast lane."""
        lane = self.advisories() if one.fast_lane else None
        return MinimumAgeRule(one.min_age_s, fast_lane=lane, **self.undated(one), **common)

    def status(self, one: RuleSettings, common: Mapping[str, Any]) -> Rule:
        """A status of the operator's own, by default for all projects in the scope."""
        assert one.status is not None
        return StatusOverlay(one.status, self.patterns(one.patterns or ("*",)), **common)

    def freeze(self, one: RuleSettings, common: Mapping[str, Any]) -> Rule:
        """A freeze date."""
        assert one.at is not None
        return FreezeRule(one.at, **self.undated(one), **common)

    def only(self, one: RuleSettings, common: Mapping[str, Any]) -> Rule:
        """Files of one kind only."""
        assert one.only is not None
        return FileKindRule(one.only, **common)

    def yank_file(self, one: RuleSettings, common: Mapping[str, Any]) -> Rule:
        """Yanks by a file, which the rule watches."""
        assert one.file is not None
        return YankFileOverlay(one.file, emit=self._emit, **common)


def _scope(one: RuleSettings) -> Scope:
    limits: dict[str, Any] = {
        "projects": one.projects,
        "except_": one.exempt,
        "kinds": one.kinds,
        "larger_than": one.larger_than,
        "smaller_than": one.smaller_than,
        "platforms": one.platforms,
    }
    return (
        Scope(**limits) if any(value not in (None, ()) for value in limits.values()) else _NO_SCOPE
    )


_Build = Callable[[RuleBuilder, RuleSettings, Mapping[str, Any]], Rule]

_BUILDERS: Mapping[RuleKind, _Build] = {
    RuleKind.ALLOW: lambda b, one, common: AllowRule(b.patterns(one.patterns), **common),
    RuleKind.DENY: lambda b, one, common: DenyRule(b.patterns(one.patterns), **common),
    RuleKind.MIN_AGE: RuleBuilder.min_age,
    RuleKind.FREEZE: RuleBuilder.freeze,
    RuleKind.ADVISORIES: lambda b, one, common: AdvisoryRule(
        b.advisories(), malicious_only=one.malicious_only, ignore=one.ignore, **common
    ),
    RuleKind.ONLY: RuleBuilder.only,
    RuleKind.PRE_RELEASES: lambda _, __, common: PreReleaseRule(**common),
    RuleKind.YANKED: lambda _, __, common: YankedRule(**common),
    RuleKind.YANK: lambda b, one, common: YankOverlay(b.patterns(one.patterns), **common),
    RuleKind.YANK_FILE: RuleBuilder.yank_file,
    RuleKind.QUARANTINE: lambda b, one, common: QuarantineOverlay(
        b.patterns(one.patterns), **common
    ),
    RuleKind.STATUS: RuleBuilder.status,
}
