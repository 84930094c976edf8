"""Strategies for the rules of the project, with scopes that overlap."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from simple_repository_server.model import Status
from simple_repository_server.policy.age import MinimumAgeRule
from simple_repository_server.policy.allow import AllowRule
from simple_repository_server.policy.deny import DenyRule
from simple_repository_server.policy.file_kind_rule import FileKindRule
from simple_repository_server.policy.file_kinds import FileKind
from simple_repository_server.policy.freeze import FreezeRule
from simple_repository_server.policy.pre_releases import PreReleaseRule
from simple_repository_server.policy.quarantine import QuarantineOverlay
from simple_repository_server.policy.rule import Rule
from simple_repository_server.policy.scope import Scope
from simple_repository_server.policy.status_overlay import StatusOverlay
from simple_repository_server.policy.undated import Undated
from simple_repository_server.policy.yank_overlay import YankOverlay
from simple_repository_server.policy.yanked import YankedRule

_WHOLE = st.sampled_from(("demo", "corp-*", "Corp_A", "*"))
_PATTERN = _WHOLE | st.sampled_from(
    ("demo<1.1", "demo==1.0", "*>=2.0rc1", "corp-*<2", "corp-a!=1.1", "*~=1.0", "demo===2.0rc1")
)
_PATTERNS = st.lists(_PATTERN, min_size=1, max_size=3)
_SCOPES = st.builds(
    Scope,
    projects=st.none() | _PATTERNS,
    except_=st.lists(_PATTERN, max_size=1),
    kinds=st.none() | st.lists(st.sampled_from(("wheel", "sdist")), min_size=1, unique=True),
    larger_than=st.none() | st.integers(0, 8),
    platforms=st.none() | st.lists(st.sampled_from(("win*", "any")), min_size=1),
)
UNDATED = st.sampled_from((Undated.REFUSE, Undated.ALLOW))


@st.composite
def real_rules(draw: st.DrawFn, now: float) -> Rule:
    """One of the rules; ages and dates are about `now`."""
    common: dict[str, Any] = {
        "dry_run": draw(st.integers(0, 4)) == 0,
        "conceal": draw(st.booleans()),
        "scope": draw(st.just(Scope()) | _SCOPES),
    }
    past = st.floats(0, 20).map(lambda age: datetime.fromtimestamp(now - age, UTC))
    rule: Rule = draw(
        st.one_of(
            st.builds(MinimumAgeRule, st.floats(0, 30), undated=UNDATED, **_just(common)),
            st.builds(FreezeRule, past, undated=UNDATED, **_just(common)),
            st.builds(DenyRule, _PATTERNS, **_just(common)),
            st.builds(AllowRule, _PATTERNS, **_just(common)),
            st.builds(
                FileKindRule, st.sampled_from((FileKind.WHEEL, FileKind.SDIST)), **_just(common)
            ),
            st.builds(PreReleaseRule, **_just(common)),
            st.builds(YankedRule, **_just(common)),
            st.builds(YankOverlay, _PATTERNS, **_just(common)),
            st.builds(QuarantineOverlay, st.lists(_WHOLE, min_size=1), **_just(common)),
            st.builds(
                StatusOverlay,
                st.sampled_from((Status.ARCHIVED, Status.DEPRECATED)),
                **_just(common),
            ),
        )
    )
    return rule


def _just(common: dict[str, Any]) -> dict[str, Any]:
    return {name: st.just(value) for name, value in common.items()}
