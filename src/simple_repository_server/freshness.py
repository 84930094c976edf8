"""How current a snapshot is, and until when: what response headers state of it."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from typing_extensions import override


class FreshnessInfo(NamedTuple):
    """How fresh a snapshot is at one moment: the values of response headers (RFC 9111 §5)."""

    #: `Cache-Control: max-age`, in seconds.
    max_age: int
    #: `Age`, in seconds; None for content that is current by construction.
    age: int | None
    #: The text of `Warning: 110`: why it is stale; None while it is fresh.
    warning: str | None


_UNKNOWN = FreshnessInfo(0, None, None)
_UNSTEADY = 0.0, 0.0


class Freshness:
    """How current a snapshot is; its source updates it in place.

    It is separate from the content because a page that was revalidated unchanged is the same
    page. Times are seconds since the epoch (`time.time`).
    """

    __slots__ = ("lifetime_s", "stale_reason", "validated_at", "verdict")

    def __init__(self, *, validated_at: float = 0.0, lifetime_s: float = 0.0) -> None:
        #: When its origin last sent or confirmed the snapshot.
        self.validated_at = validated_at
        #: How long it is fresh; 0: clients must revalidate each time.
        self.lifetime_s = lifetime_s
        #: Why the source could not revalidate the stale snapshot; None if it could.
        self.stale_reason: str | None = None
        #: What the cache decided at the last lookup, in a word such as `fresh`; "" without one.
        self.verdict = ""

    def at(self, now: float) -> FreshnessInfo:
        """How fresh it is at `now`. Blocks nothing and changes nothing."""
        if self.lifetime_s <= 0 and self.stale_reason is None:
            return _UNKNOWN
        if now < self.validated_at:  # the clock was set back, so the age is unknown
            return FreshnessInfo(0, 0, self.stale_reason)
        age = int(now - self.validated_at)
        return FreshnessInfo(int(self.lifetime_s), age, self.stale_reason)

    @property
    def limit(self) -> float | None:
        """When the snapshot ends, whatever its source says; None: not by itself."""
        return None

    def steady(self, now: float) -> tuple[float, float]:
        """From when until when `at` returns the same as at `now`; equal times: it is unknown.

        This holds while no attribute changes. Of a subclass, which may depend on more than the
        attributes, it is unknown unless it overrides this.
        """
        if type(self) is not Freshness:
            return _UNSTEADY
        age = self.at(now).age
        if age is None:
            return -math.inf, math.inf
        if now < self.validated_at:
            return _UNSTEADY
        return self.validated_at + age, self.validated_at + age + 1


class WeakestFreshness(Freshness):
    """The freshness of a combination of snapshots: that of its weakest part."""

    __slots__ = ("parts",)

    def __init__(self, parts: Iterable[Freshness]) -> None:
        super().__init__()
        self.parts = tuple(parts)

    @override
    def at(self, now: float) -> FreshnessInfo:
        """The shortest lifetime, the highest age and all warnings of the parts."""
        infos = [part.at(now) for part in self.parts]
        ages = [info.age for info in infos if info.age is not None]
        warnings = [info.warning for info in infos if info.warning]
        max_age = min((info.max_age for info in infos), default=0)
        return FreshnessInfo(max_age, max(ages, default=None), "; ".join(warnings) or None)

    # mypy does not find `@override` on a property with a setter.
    @property  # type: ignore[explicit-override]
    @override
    def verdict(self) -> str:
        """The distinct verdicts of the parts, in their order, as in `fresh, stale-if-error`."""
        return ", ".join(dict.fromkeys(part.verdict for part in self.parts if part.verdict))

    @verdict.setter
    def verdict(self, verdict: str) -> None:
        """Ignored: a combination has no verdict of its own."""


class LimitedFreshness(Freshness):
    """The freshness of a snapshot that is right until `until` at the most.

    `basis` is that of the snapshot it was made from, and everything but the limit is its. `until`
    (seconds since the epoch) may be set anew.
    """

    __slots__ = ("basis", "until")

    def __init__(self, basis: Freshness, until: float) -> None:
        self.basis = basis
        self.until = until

    @override
    def at(self, now: float) -> FreshnessInfo:
        """As the basis, but `max_age` is at most the whole seconds until the limit.

        So that a client counts these from the answer, the age is then 0, unless it is stale.
        """
        info = self.basis.at(now)
        left = max(0, int(self.until - now))
        if info.max_age <= left:
            return info
        if info.age is None or info.warning is not None or info.age >= info.max_age:
            return info._replace(max_age=left)
        return FreshnessInfo(min(info.max_age - info.age, left), 0, None)

    @override
    def steady(self, now: float) -> tuple[float, float]:
        """As long as the basis is steady and the same number of whole seconds is left."""
        since, until = self.basis.steady(now)
        if since == until or not self.basis.at(now).max_age:
            return since, until
        left = max(0, int(self.until - now))
        return max(since, self.until - left - 1), min(until, self.until - left)

    @property
    @override
    def limit(self) -> float:
        """The earlier one of its limit and that of the basis."""
        of_basis = self.basis.limit
        return self.until if of_basis is None else min(self.until, of_basis)

    @property  # type: ignore[explicit-override]
    @override
    def validated_at(self) -> float:
        """That of the basis."""
        return self.basis.validated_at

    @validated_at.setter
    def validated_at(self, value: float) -> None:
        """Set on the basis."""
        self.basis.validated_at = value

    @property  # type: ignore[explicit-override]
    @override
    def lifetime_s(self) -> float:
        """That of the basis."""
        return self.basis.lifetime_s

    @lifetime_s.setter
    def lifetime_s(self, value: float) -> None:
        """Set on the basis."""
        self.basis.lifetime_s = value

    @property  # type: ignore[explicit-override]
    @override
    def stale_reason(self) -> str | None:
        """That of the basis."""
        return self.basis.stale_reason

    @stale_reason.setter
    def stale_reason(self, value: str | None) -> None:
        """Set on the basis."""
        self.basis.stale_reason = value

    @property  # type: ignore[explicit-override]
    @override
    def verdict(self) -> str:
        """That of the basis."""
        return self.basis.verdict

    @verdict.setter
    def verdict(self, value: str) -> None:
        """Set on the basis."""
        self.basis.verdict = value
