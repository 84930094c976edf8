"""Rules applied to a repository."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
from simple_repository_server.combine.routed import RoutedRepository
from simple_repository_server.errors import (
    HiddenByRule,
    ProjectNotFound,
    ResourceNotFound,
    RuleUnavailable,
    SourceUnavailable,
)
from simple_repository_server.freshness import Freshness
from simple_repository_server.model import (
    File,
    ProjectPage,
    ProjectStatus,
    Status,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Event
from simple_repository_server.observe.rule_events import DryRunReported, FilesHidden
from simple_repository_server.policy.repository import RuleRepository
from simple_repository_server.policy.reserved import ReservedNamesRepository
from simple_repository_server.policy.rule import Rule
from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.transforms.filter import DenyListRepository
from simple_repository_server.transforms.renamed import RenamedProjectsRepository
from tests.policy.simple_rules import (
    Gone,
    HideFiles,
    HideProjects,
    HideUntil,
    HideYanked,
    ShowStatus,
    UnmarkedYank,
    Yank,
    file,
)

DEMO = ProjectName("demo")
WHEEL, OLD, SDIST = "demo-1.1-py3-none-any.whl", "demo-1.0-py3-none-any.whl", "demo-1.1.tar.gz"
NOW = 1_700_000_000.0


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Recording(MemoryRepository):
    """Files in memory, and the projects it was queried for."""

    def __init__(self, *pages: ProjectPage) -> None:
        super().__init__({page.name: page for page in pages})
        self.queried: list[str] = []
        for page in pages:
            for one in page.files:
                self._contents[one.filename] = b"bytes"
                self._contents[one.filename.metadata] = b"metadata"

    def replace(self, page: ProjectPage) -> None:
        """Have another page of a project."""
        self._pages[page.name] = page

    @override
    def _page(self, project: ProjectName) -> ProjectPage:
        self.queried.append(project)
        return super()._page(project)


def demo(*files: File, **fields: Any) -> ProjectPage:
    """The page of `demo`."""
    found = files or tuple(
        file(name, core_metadata=name != SDIST, size=5) for name in (OLD, WHEEL, SDIST)
    )
    return ProjectPage(name=DEMO, files=found, versions=("0.9", "1.0", "1.1"), **fields)


def ruled(source: MemoryRepository, *rules: Rule, **options: Any) -> RuleRepository:
    """The source with rules."""
    return RuleRepository(source, rules, **options)


async def names(repository: RuleRepository) -> list[str]:
    """The names of the files on the page of `demo`."""
    return [one.filename for one in (await repository.get_project_page(DEMO)).files]


async def test_what_a_rule_hides_is_neither_shown_nor_served() -> None:
    """The file, its metadata and its peeks follow the page; the rest is as before."""
    repository = ruled(Recording(demo()), HideFiles("no 1.1 wheel", "*1.1*.whl"))
    assert await names(repository) == [OLD, SDIST]
    for name in (WHEEL, f"{WHEEL}.metadata"):
        with pytest.raises(HiddenByRule) as caught:
            await repository.get_resource(DEMO, FileName(name))
        assert str(caught.value) == f"no 1.1 wheel hides {WHEEL}"
        with pytest.raises(HiddenByRule):
            repository.peek_resource(DEMO, FileName(name))
    assert (await repository.get_resource(DEMO, FileName(OLD))).size == 5
    assert (await repository.get_resource(DEMO, FileName(f"{OLD}.metadata"))).size == 8


async def test_a_file_that_is_not_on_the_page_is_not_there() -> None:
    """A file that the source might have by now is not served past the page that was judged."""
    repository = ruled(Recording(demo()), HideFiles("none", "x"))
    for name in ("demo-2.0.tar.gz", "demo-2.0.tar.gz.metadata"):
        with pytest.raises(ResourceNotFound):
            await repository.get_resource(DEMO, FileName(name))
        with pytest.raises(ResourceNotFound):
            repository.peek_resource(DEMO, FileName(name))


async def test_a_page_of_which_everything_is_hidden_is_empty() -> None:
    """The project is there, and has nothing to show."""
    page = await ruled(Recording(demo()), HideFiles("all", "*")).get_project_page(DEMO)
    assert (page.files, page.versions) == ((), ("0.9",))


async def test_versions_are_those_of_the_files_that_are_shown() -> None:
    """A version goes with its last file; one that never had a file stays."""
    source = Recording(demo())
    page = await ruled(source, HideFiles("wheels", "*.whl")).get_project_page(DEMO)
    assert page.versions == ("0.9", "1.1")


async def test_versions_are_compared_as_versions() -> None:
    """The page spells a version otherwise than the names of its files do."""
    files = [file("demo-1.0-py3-none-any.whl"), file("demo-2.0.post1.tar.gz")]
    page = ProjectPage(name=DEMO, files=tuple(files), versions=("1", "2.0-1"))
    shown = await ruled(Recording(page), HideFiles("1", "*1.0*")).get_project_page(DEMO)
    assert shown.versions == ("2.0-1",)


async def test_rules_that_change_nothing_leave_the_very_page() -> None:
    """No copy is made of a page that rules do not change."""
    source = Recording(demo())
    repository = ruled(source, HideFiles("none", "x"), Yank("none", "x"))
    assert await repository.get_project_page(DEMO) is await source.get_project_page(DEMO)
    assert repository.peek_project_page(DEMO) is await source.get_project_page(DEMO)


async def test_the_same_page_is_returned_until_a_rule_has_changed() -> None:
    """A change that concerns no file of the page leaves it the same object."""
    rule = HideFiles("no wheels", "*.whl")
    repository = ruled(Recording(demo()), rule)
    page = await repository.get_project_page(DEMO)
    assert await repository.get_project_page(DEMO) is page
    rule.change("demo*.whl")
    assert repository.peek_project_page(DEMO) is None
    assert await repository.get_project_page(DEMO) is page
    rule.change("x")
    assert await names(repository) == [OLD, WHEEL, SDIST]


async def test_a_page_changes_when_the_time_has_come() -> None:
    """Files come of age at their moment, and clients are told to keep the page until then."""
    clock = Clock()
    uploaded = [datetime.fromtimestamp(NOW - age, UTC) for age in (500, 10)]
    files = [file(name, upload_time=at) for name, at in zip((OLD, WHEEL), uploaded, strict=True)]
    freshness = Freshness(validated_at=NOW, lifetime_s=600)
    repository = ruled(
        Recording(demo(*files, freshness=freshness)), HideUntil("young", 100), clock=clock
    )
    page = await repository.get_project_page(DEMO)
    assert await names(repository) == [OLD]
    assert page.freshness.at(NOW).max_age == 90
    clock.now = NOW + 89.99
    assert repository.peek_project_page(DEMO) is page
    clock.now = NOW + 90
    assert repository.peek_project_page(DEMO) is None
    assert await names(repository) == [OLD, WHEEL]
    assert (await repository.get_project_page(DEMO)).freshness is freshness


async def test_a_page_that_says_the_same_gets_a_new_limit() -> None:
    """The rule changes when it will show a file: the page stays, and its lifetime changes."""
    rule = HideUntil("young", 100)
    one = file(WHEEL, upload_time=datetime.fromtimestamp(NOW, UTC))
    freshness = Freshness(validated_at=NOW, lifetime_s=600)
    repository = ruled(Recording(demo(one, freshness=freshness)), rule, clock=Clock())
    page = await repository.get_project_page(DEMO)
    rule.age_s, rule.revision = 300, 1
    assert await repository.get_project_page(DEMO) is page
    assert page.freshness.at(NOW).max_age == 300


async def test_overlays_are_applied_before_rules_judge() -> None:
    """A file that one rule yanks is hidden by another one, in either order and unmarked, too."""
    for yank in (Yank, UnmarkedYank):
        rules: list[Rule] = [HideYanked("no yanked"), yank("yanks", "*.whl")]
        for ordered in (rules, rules[::-1]):
            assert await names(ruled(Recording(demo()), *ordered)) == [SDIST]


async def test_an_overlay_changes_what_is_shown() -> None:
    """The first of two overlays gives the reason."""
    repository = ruled(Recording(demo()), Yank("first", "*.whl"), Yank("second", "*"))
    page = await repository.get_project_page(DEMO)
    assert [one.yanked for one in page.files] == ["first", "first", "second"]


async def test_a_quarantined_project_offers_no_files() -> None:
    """Its page says so, and a request for a file names the rule (PEP 792)."""
    repository = ruled(Recording(demo()), ShowStatus("quarantine", Status.QUARANTINED))
    page = await repository.get_project_page(DEMO)
    assert page.files == ()
    assert page.status == ProjectStatus(Status.QUARANTINED, "quarantine")
    with pytest.raises(HiddenByRule) as caught:
        await repository.get_resource(DEMO, FileName(WHEEL))
    assert caught.value.rule == "quarantine"


@pytest.mark.parametrize("order", [1, -1])
async def test_the_status_that_restricts_most_is_shown(order: int) -> None:
    """In any order; and no rule lifts a quarantine."""
    rules = [ShowStatus("a", Status.ARCHIVED), ShowStatus("d", Status.DEPRECATED)][::order]
    page = await ruled(Recording(demo()), *rules).get_project_page(DEMO)
    assert page.status == ProjectStatus(Status.ARCHIVED, "a")
    quarantined = ProjectStatus(Status.QUARANTINED, "malware")
    page = await ruled(Recording(demo(status=quarantined)), *rules).get_project_page(DEMO)
    assert page.status == quarantined


async def test_a_dry_run_reports_and_lets_through() -> None:
    """What it would hide or change is counted, and everything is shown."""
    events: list[Event] = []
    source = Recording(demo())
    repository = ruled(
        source,
        HideFiles("hides", "*.whl", dry_run=True),
        HideProjects("project", "demo", dry_run=True),
        Yank("yanks", "*.gz", dry_run=True),
        ShowStatus("quarantines", Status.QUARANTINED, dry_run=True),
        Gone("gone", dry_run=True),
        emit=events.append,
    )
    page = await repository.get_project_page(DEMO)
    assert page is await source.get_project_page(DEMO)
    assert (await repository.get_resource(DEMO, FileName(WHEEL))).size == 5
    assert (await repository.get_project_list()).names == (DEMO,)
    counts = {"hides": 2, "project": 3, "yanks": 1, "quarantines": 3}
    assert events == [DryRunReported(project="demo", rules=counts)]


async def test_what_is_hidden_is_reported_once() -> None:
    """An event per page says how many files each rule hides, until that changes."""
    events: list[Event] = []
    rule = HideFiles("no wheels", "*.whl")
    rules = [rule, HideFiles("no 1.1", "*1.1*")]
    repository = ruled(Recording(demo()), *rules, emit=events.append)
    for _ in range(3):
        await repository.get_project_page(DEMO)
    counts = {"no wheels": 2, "no 1.1": 2}
    assert events == [FilesHidden(project="demo", files=3, rules=counts)]
    rule.change("demo*.whl")
    await repository.get_project_page(DEMO)
    assert len(events) == 1


async def test_a_concealing_rule_says_so() -> None:
    """For files and for projects."""
    repository = ruled(Recording(demo()), HideFiles("secret", "*", conceal=True))
    with pytest.raises(HiddenByRule) as caught:
        await repository.get_resource(DEMO, FileName(WHEEL))
    assert caught.value.concealed
    with pytest.raises(HiddenByRule) as caught:
        await ruled(
            Recording(demo()), HideProjects("secret", "demo", conceal=True)
        ).get_project_page(DEMO)
    assert caught.value.concealed


async def test_a_rule_that_cannot_be_evaluated_refuses() -> None:
    """Pages and files are refused until it can be, and then shown."""
    rule = Gone("advisories")
    repository = ruled(Recording(demo()), rule)
    for _ in range(2):
        with pytest.raises(RuleUnavailable):
            await repository.get_project_page(DEMO)
        with pytest.raises(RuleUnavailable):
            await repository.get_resource(DEMO, FileName(WHEEL))
    rule.broken = False
    assert len(await names(repository)) == 3
    rule.broken, rule.revision = True, 1
    with pytest.raises(RuleUnavailable):
        await repository.get_project_page(DEMO)


async def _refused(repository: RuleRepository, project: ProjectName) -> list[type[Exception]]:
    """What page, file, metadata and the peeks of both raise."""
    raised: list[type[Exception]] = []
    for name in ("", WHEEL, f"{WHEEL}.metadata"):
        try:
            if name:
                await repository.get_resource(project, FileName(name))
            else:
                await repository.get_project_page(project)
        except (HiddenByRule, ProjectNotFound, SourceUnavailable) as error:
            raised.append(type(error))
        try:
            if name:
                repository.peek_resource(project, FileName(name))
            else:
                repository.peek_project_page(project)
        except (HiddenByRule, ProjectNotFound) as error:
            raised.append(type(error))
    return raised


async def test_a_project_that_an_index_hides_is_not_queried_for() -> None:
    """By its name alone it is refused, whether or not a source has it."""
    source = Recording(demo())
    repository = ruled(source, HideProjects("no d", "d*"))
    for project in (DEMO, ProjectName("dozen")):
        assert await _refused(repository, project) == [HiddenByRule] * 6
    assert source.queried == []
    assert (await repository.get_project_list()).names == ()


async def test_a_project_that_a_source_hides_still_belongs_to_it() -> None:
    """Nobody else's project appears under its name; what it does not have is queried further."""
    source = Recording(demo())
    repository = ruled(source, HideProjects("no d", "d*"), owns_names=True)
    assert await _refused(repository, DEMO) == [HiddenByRule] * 6
    assert await _refused(repository, ProjectName("dozen")) == [ProjectNotFound] * 6
    assert (await repository.get_project_list()).names == ()
    combined = PrioritySelectedProjectsRepository([repository, Recording(demo())])
    with pytest.raises(HiddenByRule):
        await combined.get_project_page(DEMO)
    async with combined:
        assert (await combined.get_project_list()).names == ()
    earlier = PrioritySelectedProjectsRepository([Recording(demo()), repository])
    async with earlier:
        assert (await earlier.get_project_list()).names == (DEMO,)


async def test_names_that_are_not_asked_for_are_withheld_from_nobody() -> None:
    """A source that must not have a name cannot take it out of the list of its owner, either."""
    hiding = ruled(Recording(demo()), HideProjects("no d", "d*"), owns_names=True)
    for other in (
        ReservedNamesRepository(hiding, ["demo"]),
        DenyListRepository(hiding, denied=[DEMO]),
        RoutedRepository([("other", hiding)]),
        RenamedProjectsRepository(hiding, names={"other": "demo"}),
    ):
        combined = PrioritySelectedProjectsRepository([other, Recording(demo())])
        async with combined:
            assert DEMO in (await combined.get_project_list()).names


async def test_a_source_is_not_queried_for_names_it_is_not_allowed_to_have() -> None:
    """Names that are not on a source's list of allowed ones are the next source's."""
    source = Recording(demo())
    rules = [HideProjects("only a", "[!a]*", disowns_projects=True), HideProjects("no d", "d*")]
    repository = ruled(source, *rules, owns_names=True)
    assert await _refused(repository, DEMO) == [ProjectNotFound] * 6
    assert source.queried == []


async def test_a_new_page_of_the_source_is_judged_anew() -> None:
    """Rules hold for what the source has now."""
    source = Recording(demo())
    repository = ruled(source, HideFiles("no wheels", "*.whl"))
    assert await names(repository) == [SDIST]
    source.replace(demo(file("demo-2.0.tar.gz"), file("demo-2.0-py3-none-any.whl")))
    assert repository.peek_project_page(DEMO) is None
    assert await names(repository) == ["demo-2.0.tar.gz"]


async def test_the_list_follows_rules_that_change() -> None:
    """The same list is returned while the same names are visible."""
    source = Recording(demo(), ProjectPage(name=ProjectName("other"), files=()))
    rule = HideProjects("no d", "d*")
    repository = ruled(source, rule)
    found = await repository.get_project_list()
    assert found.names == ("other",)
    assert repository.peek_project_list() is found
    rule.revision = 1
    assert repository.peek_project_list() is None
    assert await repository.get_project_list() is found
    rule.glob, rule.revision = "x", 2
    assert await repository.get_project_list() is await source.get_project_list()


async def test_large_pages_are_judged_alike() -> None:
    """Those that are evaluated in a thread, and those with facts, too."""
    count = 2_000
    files = [file(f"demo-{number}-py3-none-any.whl", size=1) for number in range(count)]
    page = msgspec.structs.replace(demo(*files), versions=tuple(map(str, range(count))))
    gone = Gone("facts")
    gone.broken = False
    rules: Sequence[Rule] = [HideFiles("odd", "*[13579]-py3*"), gone]
    shown = await ruled(Recording(page), *rules).get_project_page(DEMO)
    assert len(shown.files) == len(shown.versions) == count // 2
