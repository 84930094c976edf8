"""What rules show expires exactly when it changes, whatever rules there are together."""

import asyncio
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from simple_repository_server.model import ProjectPage
from simple_repository_server.policy.age import MinimumAgeRule
from simple_repository_server.policy.repository import RuleRepository
from simple_repository_server.policy.rule import Rule
from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.testing.lookups import Lookup, is_same
from tests.properties.real_rules import UNDATED, real_rules
from tests.properties.test_rules import NOW, PROJECTS, lookups, sources


def _said(page: ProjectPage) -> object:
    return page.files, page.versions, page.status


@settings(max_examples=100, deadline=None)
@given(
    sources(),
    st.lists(real_rules(NOW), max_size=4),
    st.lists(st.builds(MinimumAgeRule, st.floats(0, 40), undated=UNDATED), max_size=2),
    st.floats(0, 1, exclude_max=True),
)
def test_a_page_expires_exactly_when_it_changes(
    source: MemoryRepository, others: list[Rule], cooldowns: list[Rule], part: float
) -> None:
    """Until its limit it stays the same object, at its limit it says something else."""
    found = [*others, *cooldowns]

    async def check() -> None:
        for project in PROJECTS:
            now = [NOW]
            repository = RuleRepository(source, found, clock=lambda now=now: now[0])  # type: ignore[misc]
            page = await Lookup(repository, project).get()
            if not isinstance(page, ProjectPage):
                continue
            limit = page.freshness.limit
            end = NOW + 1e6 if limit is None else limit
            now[0] = min(NOW + (end - NOW) * part, math.nextafter(end, 0))
            assert await Lookup(repository, project).get() is page
            now[0] = end
            later = await Lookup(repository, project).get()
            assert isinstance(later, ProjectPage)
            assert (_said(later) == _said(page)) is (limit is None)

    asyncio.run(check())


@settings(max_examples=60, deadline=None)
@given(
    sources(),
    st.lists(real_rules(NOW), max_size=5),
    st.booleans(),
    st.lists(st.floats(0, 60), min_size=1, max_size=4).map(sorted),
)
def test_what_was_remembered_is_never_shown_too_long(
    source: MemoryRepository, found: list[Rule], owns_names: bool, times: list[float]
) -> None:
    """At any time a repository in use says what a new one says."""
    now = [NOW]

    def ruled() -> RuleRepository:
        return RuleRepository(source, found, owns_names=owns_names, clock=lambda: now[0])

    async def check() -> None:
        used = ruled()
        for time in times:
            now[0] = NOW + time
            for old, new in zip(lookups(used), lookups(ruled()), strict=True):
                peeked, answer, fresh = old.peek(), await old.get(), await new.get()
                assert peeked is None or is_same(peeked, answer)
                if isinstance(answer, ProjectPage) and isinstance(fresh, ProjectPage):
                    assert _said(answer) == _said(fresh)
                    assert answer.freshness.limit == fresh.freshness.limit
                else:
                    assert type(answer) is type(fresh)
                    assert str(answer) == str(fresh) or not isinstance(answer, Exception)

    asyncio.run(check())
