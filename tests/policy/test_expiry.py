"""An outcome is valid until exactly the moment at which it becomes another one."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.policy.age import MinimumAgeRule
from simple_repository_server.policy.freeze import FreezeRule
from simple_repository_server.policy.undated import Undated

from .views import NOW_TIME, file, view_of

_SECONDS = st.integers(-5_000_000, 1_000_000) | st.floats(-5e6, 1e6, allow_nan=False)
_UPLOADED = st.none() | _SECONDS.map(lambda seconds: NOW_TIME + timedelta(seconds=seconds))


@given(
    uploaded=st.lists(_UPLOADED, max_size=8),
    age_s=st.floats(0, 3e6),
    undated=st.sampled_from([Undated.REFUSE, Undated.ALLOW]),
    now=_SECONDS.map(lambda seconds: NOW_TIME.timestamp() + seconds),
    part=st.floats(0, 1, exclude_max=True),
)
def test_age_expires_exactly(
    uploaded: list[datetime | None], age_s: float, undated: Undated, now: float, part: float
) -> None:
    """Before `until` it is the same at each moment, at `until` it hides less."""
    view = view_of(*(file(f"foo-{at}.tar.gz", time) for at, time in enumerate(uploaded)))
    rule = MinimumAgeRule(age_s, undated=undated)
    outcome = rule.judge(view, now, None)
    if outcome.until is None:
        later = now + 1e9
        assert rule.judge(view, later, None).hidden.keys() == outcome.hidden.keys()
        return
    assert outcome.until > now
    between = now + (outcome.until - now) * part
    if between < outcome.until:  # else they differ by less than a number can
        assert rule.judge(view, between, None) == outcome
    assert rule.judge(view, outcome.until, None).hidden.keys() < outcome.hidden.keys()


@given(uploaded=st.lists(_UPLOADED, max_size=8), at=_SECONDS, now=_SECONDS, later=_SECONDS)
def test_freeze_never_expires(
    uploaded: list[datetime | None], at: float, now: float, later: float
) -> None:
    """It is the same at all times."""
    view = view_of(*(file(f"foo-{at}.tar.gz", time) for at, time in enumerate(uploaded)))
    rule = FreezeRule(NOW_TIME + timedelta(seconds=at))
    outcome = rule.judge(view, NOW_TIME.timestamp() + now, None)
    assert outcome.until is None
    assert rule.judge(view, NOW_TIME.timestamp() + later, None) == outcome
