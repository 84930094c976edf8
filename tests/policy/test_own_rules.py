"""Rules that users have written themselves: changes are noticed, mistakes crash nothing."""

import asyncio
import math
from dataclasses import dataclass, field

import msgspec
import pytest
from typing_extensions import override

from simple_repository_server import (
    Event,
    FileName,
    Hidden,
    MemoryRepository,
    Outcome,
    PageView,
    ProjectName,
    Rule,
    RuleRepository,
    RuleUnavailable,
    create_app,
)
from simple_repository_server.observe.rule_events import RuleFailed, RuleRecovered
from tests.asgi import ask

DEMO = ProjectName("demo")
WHEEL = FileName("demo-1.0-py3-none-any.whl")


def packages() -> MemoryRepository:
    """Two projects, one with metadata."""
    repository = MemoryRepository()
    repository.add(WHEEL, b"wheel", metadata=b"Metadata-Version: 2.1\n")
    repository.add("other-1.0-py3-none-any.whl", b"other")
    return repository


class OwnRule(Rule):
    """Hides demo while `active`, and fails in one place."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def _fail(self, where: str) -> None:
        if self.fails == where:
            raise KeyError("secret")

    @override
    def applies_to(self, project: ProjectName) -> bool:
        self._fail("applies_to")
        return project == DEMO

    @override
    def hides_project(self, project: ProjectName) -> Hidden | None:
        if project == DEMO:
            self._fail("hides_project")
        return None

    @override
    async def facts(self, view: PageView) -> object:
        self._fail("facts")
        return None

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        self._fail("judge")
        why = Hidden(rule=self.label, reason="no")
        impossible: dict[str, object] = {
            "nothing": None,
            "positions": Outcome(hidden={1: why}),
            "negative": Outcome(hidden={-1: why}),
            "texts": Outcome(hidden={0: "no"}),  # type: ignore[dict-item]
            "another file": Outcome(
                replaced={0: msgspec.structs.replace(view.files[0], filename=FileName("x-1.whl"))}
            ),
            "never": Outcome(until=math.nan),
        }
        return impossible.get(self.fails, Outcome())  # type: ignore[return-value]


FAILURES = ["applies_to", "facts", "judge"]
IMPOSSIBLE = ["nothing", "positions", "negative", "texts", "another file", "never"]


@pytest.mark.parametrize("fails", [*FAILURES, "hides_project", *IMPOSSIBLE])
@pytest.mark.anyio
async def test_a_rule_that_crashes_is_a_rule_that_cannot_be_evaluated(fails: str) -> None:
    """Page, file and metadata are 503 with the name of the rule, and nothing of the exception."""
    repository = RuleRepository(packages(), [OwnRule(fails)])
    app = create_app(repository)
    async with repository:
        for path in ("simple/demo/", f"resources/demo/{WHEEL}", f"resources/demo/{WHEEL}.metadata"):
            answer = await ask(app, f"/{path}")
            assert answer.status == 503, path
            assert "The rule OwnRule cannot be evaluated" in answer.text
            assert "secret" not in answer.text
        if fails not in ("applies_to", "hides_project"):
            assert (await ask(app, "/simple/other/")).status == 200


@pytest.mark.anyio
async def test_a_crash_is_an_event_once_and_names_the_place() -> None:
    """The log says what failed and where, once, and that it works again."""
    events: list[Event] = []
    rule = OwnRule("judge")
    async with RuleRepository(packages(), [rule], emit=events.append) as repository:
        for _ in range(3):
            with pytest.raises(RuleUnavailable):
                await repository.get_project_page(DEMO)
        rule.fails = ""
        await repository.get_project_page(DEMO)
    failed, recovered = events
    assert isinstance(failed, RuleFailed)
    assert "KeyError: 'secret'" in failed.reason
    assert "test_own_rules.py, line" in failed.reason
    assert recovered == RuleRecovered(rule="OwnRule")


@pytest.mark.anyio
async def test_a_crash_hides_nothing_in_a_dry_run() -> None:
    """A dry run that fails lets everything through."""
    for fails in ["facts", "judge", *IMPOSSIBLE]:
        rule = OwnRule(fails)
        rule.dry_run = True
        async with RuleRepository(packages(), [rule]) as repository:
            assert (await repository.get_project_page(DEMO)).files


@pytest.mark.anyio
async def test_a_list_is_refused_where_a_name_cannot_be_judged() -> None:
    """A list is never shown with a name that a rule might hide."""
    async with RuleRepository(packages(), [OwnRule("hides_project")]) as repository:
        with pytest.raises(RuleUnavailable):
            await repository.get_project_list()


@dataclass
class Blocked(Rule):
    """A dataclass whose revision is only increased."""

    names: set[str] = field(default_factory=set)

    def block(self, name: str) -> None:
        self.names.add(name)
        self.revision += 1

    @override
    def hides_project(self, project: ProjectName) -> Hidden | None:
        return Hidden(rule=self.label, reason="blocked") if project in self.names else None

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        why = Hidden(rule=self.label, reason="blocked")
        return Outcome(
            hidden={at: why for at, one in enumerate(view.files) if one.filename in self.names},
            until=math.inf,
        )


@pytest.mark.anyio
async def test_a_change_of_a_rule_is_noticed_by_everything_that_is_shown() -> None:
    """`revision += 1` is enough for lists, pages, files and peeks; rules that are equal are two."""
    rule, equal = Blocked(), Blocked()
    repository = RuleRepository(packages(), [rule, equal])
    app = create_app(repository)
    async with repository:
        for _ in range(2):
            assert WHEEL in (await ask(app, "/simple/demo/")).text
            assert "demo" in (await ask(app, "/simple/")).text
            assert (await ask(app, f"/resources/demo/{WHEEL}")).status == 200
        equal.block(WHEEL)
        assert WHEEL not in (await ask(app, "/simple/demo/")).text
        assert (await ask(app, f"/resources/demo/{WHEEL}")).status == 403
        rule.block("other")
        assert (await ask(app, "/simple/other/")).status == 403
        assert "other" not in (await ask(app, "/simple/")).text


def test_one_index_serves_two_event_loops_in_turn() -> None:
    """Rules and repositories may be entered again in another loop."""
    repository = RuleRepository(packages(), [Blocked()])

    async def look() -> list[str]:
        async with repository, repository:
            page = await repository.get_project_page(DEMO)
            return [file.filename for file in page.files]

    assert asyncio.run(look()) == asyncio.run(look()) == [WHEEL]
