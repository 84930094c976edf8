"""Laws of rules, for any graph of components and any rules."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
from simple_repository_server.combine.routed import RoutedRepository
from simple_repository_server.distributions.filenames import versions_of
from simple_repository_server.model import ProjectPage, Status
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.policy.repository import RuleRepository
from simple_repository_server.policy.reserved import ReservedNamesRepository
from simple_repository_server.policy.rule import Rule
from simple_repository_server.repository import Repository
from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.testing.lookups import (
    NOT_SHOWN,
    Lookup,
    is_same,
    lookups_of_file,
)
from simple_repository_server.transforms.renamed import RenamedProjectsRepository
from tests.policy.simple_rules import (
    HideFiles,
    HideProjects,
    HideUntil,
    HideYanked,
    ShowStatus,
    UnmarkedYank,
    Yank,
    file,
)
from tests.properties.real_rules import real_rules

NOW = 1_700_000_000.0
PROJECTS = tuple(map(ProjectName, ("demo", "corp-a", "corp-b")))
_VERSIONS = ("1.0", "1.1", "2.0rc1")
#: Names that any project may have on its page: of another one, without a version, of the past.
_ODD = ("corp_a-1.0.tar.gz", "odd.zip", "demo-1.0.win32.exe")
_METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
_SUFFIXES = ("-py3-none-any.whl", "-cp312-cp312-win_amd64.whl", ".tar.gz")


def names_of(project: ProjectName) -> list[FileName]:
    """All file names that sources may have of a project."""
    stem = project.replace("-", "_")
    found = [f"{stem}-{version}{suffix}" for version, suffix in product(_VERSIONS, _SUFFIXES)]
    return [FileName(name) for name in (*found, *_ODD)]


ALL_NAMES = tuple(dict.fromkeys(name for project in PROJECTS for name in names_of(project)))


@st.composite
def sources(draw: st.DrawFn) -> MemoryRepository:
    """Some of the projects, each with some files, of which a few are named after another."""
    pages: dict[ProjectName, ProjectPage] = {}
    contents: dict[str, bytes] = {}
    for project in draw(st.lists(st.sampled_from(PROJECTS), unique=True)):
        names = draw(st.lists(st.sampled_from(names_of(project)), unique=True, max_size=5))
        ages = draw(st.lists(st.none() | st.integers(0, 20), min_size=5, max_size=5))
        files = [
            file(
                name,
                upload_time=None if age is None else datetime.fromtimestamp(NOW - age, UTC),
                yanked=draw(st.booleans()),
                core_metadata=name.endswith(".whl"),
            )
            for name, age in zip(names, ages, strict=False)
        ]
        versions = versions_of(names, project)
        pages[project] = ProjectPage(name=project, files=tuple(files), versions=versions)
        contents |= dict.fromkeys(names, b"bytes")
        contents |= dict.fromkeys([name.metadata for name in names], _METADATA)
    return MemoryRepository(pages, contents)


_globs = st.sampled_from(("*", "demo*", "corp-*", "*-1.0*", "*.whl", "*.gz", "*rc*", "none"))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """One of the simple rules; its label says which."""
    kinds: list[Any] = [HideFiles, HideProjects, Yank, UnmarkedYank]
    kind = draw(st.sampled_from(kinds))
    flags = {name: draw(st.booleans()) for name in ("dry_run", "conceal", "disowns_projects")}
    return draw(
        st.one_of(
            st.builds(lambda glob: kind(f"{kind.__name__} {glob}", glob, **flags), _globs),
            st.builds(lambda age: HideUntil(f"{age} s", age, **flags), st.integers(0, 20)),
            st.builds(lambda: HideYanked("yanked", **flags)),
            st.builds(lambda status: ShowStatus(status, status, **flags), st.sampled_from(Status)),
        )
    )


def clock() -> float:
    """A time at which all sources' files are up to 20 s old."""
    return NOW


def ruled(source: Repository, found: Sequence[Rule], *, owns_names: bool) -> RuleRepository:
    """The source with these rules."""
    return RuleRepository(source, found, owns_names=owns_names, clock=clock)


_names = st.fixed_dictionaries({}, optional=dict.fromkeys(PROJECTS, st.sampled_from(PROJECTS)))
_routes = st.sampled_from(("corp-*", "demo", "*-a", "corp-?"))


def _wrapped(inner: st.SearchStrategy[Repository]) -> st.SearchStrategy[Repository]:
    some = st.lists(rules() | real_rules(NOW), max_size=4)
    return st.one_of(
        st.builds(ruled, inner, some, owns_names=st.booleans()),
        st.builds(RenamedProjectsRepository, inner, names=_names),
        st.builds(RoutedRepository, st.lists(st.tuples(_routes, inner), max_size=2), default=inner),
        st.builds(ReservedNamesRepository, inner, st.lists(st.sampled_from(("corp-*", "demo")))),
        st.builds(PrioritySelectedProjectsRepository, st.lists(inner, min_size=1, max_size=3)),
    )


graphs: st.SearchStrategy[Repository] = st.recursive(sources(), _wrapped, max_leaves=4)


async def shown(repository: Repository) -> dict[tuple[str, str], object]:
    """All files that are shown, by project and name, and all pages."""
    found: dict[tuple[str, str], object] = {}
    for project in PROJECTS:
        page = await Lookup(repository, project).get()
        if isinstance(page, ProjectPage):
            found[project, ""] = page
            found |= {(project, one.filename): one for one in page.files}
    return found


def lookups(repository: Repository) -> list[Lookup]:
    """All lookups that are possible."""
    found = [Lookup(repository), *(Lookup(repository, project) for project in PROJECTS)]
    for project in PROJECTS:
        for name in ALL_NAMES:
            found += lookups_of_file(repository, project, name)
    return found


@settings(max_examples=60, deadline=None)
@given(graphs)
def test_what_is_shown_is_what_can_be_downloaded(repository: Repository) -> None:
    """A file or its metadata is served if and only if its page shows it."""

    async def check() -> None:
        on_pages = await shown(repository)
        for project in PROJECTS:
            for name in ALL_NAMES:
                for lookup in lookups_of_file(repository, project, name):
                    served = not isinstance(await lookup.get(), NOT_SHOWN)
                    announced = lookup.filename == name or name.endswith(".whl")
                    assert served == ((project, name) in on_pages and announced)

    asyncio.run(check())


@settings(max_examples=60, deadline=None)
@given(graphs)
def test_peeks_say_what_the_coroutines_say(repository: Repository) -> None:
    """A peek returns nothing, or the same; and the same snapshot is the same object."""

    async def check() -> None:
        for lookup in lookups(repository):
            cold = lookup.peek()
            answer = await lookup.get()
            assert cold is None or is_same(cold, answer)
            assert is_same(await lookup.get(), answer)
            warm = lookup.peek()
            assert warm is None or is_same(warm, answer)
            assert warm is not None or cold is None

    asyncio.run(check())


@settings(max_examples=60, deadline=None)
@given(graphs, st.lists(rules(), max_size=4), st.booleans())
def test_a_rule_never_shows_more(inner: Repository, found: list[Rule], owns_names: bool) -> None:
    """Around anything, rules show a part of its files, and list a part of its projects."""

    async def check() -> None:
        repository = ruled(inner, found, owns_names=owns_names)
        before = await shown(inner)
        after = await shown(repository)
        assert after.keys() <= before.keys()
        listed = set((await repository.get_project_list()).names)
        assert listed <= set((await inner.get_project_list()).names)
        for project in PROJECTS:
            page, was = after.get((project, "")), before.get((project, ""))
            if isinstance(page, ProjectPage) and isinstance(was, ProjectPage):
                assert set(page.versions) <= set(was.versions)
                assert set(versions_of([one.filename for one in page.files], project)) <= set(
                    page.versions
                )
        if all(rule.dry_run for rule in found):
            assert after == before

    asyncio.run(check())


@settings(max_examples=60, deadline=None)
@given(sources(), st.lists(rules(), max_size=5), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_rules_changes_nothing_that_is_shown(
    source: MemoryRepository,
    found: list[Rule],
    owns_names: bool,
    random: Random,
) -> None:
    """Only which rule is named depends on it (and whose words an overlay adds)."""

    async def check() -> None:
        other = found.copy()
        random.shuffle(other)
        one = ruled(source, found, owns_names=owns_names)
        two = ruled(source, other, owns_names=owns_names)
        assert (await one.get_project_list()).names == (await two.get_project_list()).names
        for here, there in zip(lookups(one), lookups(two), strict=True):
            a, b = await here.get(), await there.get()
            assert type(a) is type(b)
            if isinstance(a, ProjectPage) and isinstance(b, ProjectPage):
                assert _said(a) == _said(b)

    asyncio.run(check())


def _said(page: ProjectPage) -> object:
    """What a page says that the order of rules must not change."""
    files = [(one.filename, bool(one.yanked)) for one in page.files]
    status = page.status and page.status.status
    return files, page.versions, status, page.freshness.at(NOW), page.freshness.limit


@settings(max_examples=60, deadline=None)
@given(sources(), st.lists(rules(), max_size=4), st.lists(rules(), max_size=4))
def test_rules_of_two_components_hide_what_they_hide_in_one(
    source: MemoryRepository, outer: list[Rule], inner: list[Rule]
) -> None:
    """Files that rules hide by themselves are hidden wherever the rules stand."""
    plain = (HideFiles, HideUntil)
    outer = [rule for rule in outer if isinstance(rule, plain)]
    inner = [rule for rule in inner if isinstance(rule, plain)]

    async def check() -> None:
        nested = ruled(ruled(source, inner, owns_names=True), outer, owns_names=False)
        together = ruled(source, [*inner, *outer], owns_names=False)
        assert (await shown(nested)).keys() == (await shown(together)).keys()

    asyncio.run(check())
