"""Every public component, alone and in pairs, keeps the promises of the interface.

The matrix: each source alone, each wrapper around each source, and each wrapper around each
wrapper; with and without a disk, on a cold and on a warm cache, online and offline.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

import simple_repository_server
from simple_repository_server import (
    AllowListRepository,
    DenyListRepository,
    FileName,
    LocalRepository,
    MemoryRepository,
    MergedRepository,
    PrioritySelectedProjectsRepository,
    ProjectName,
    Repository,
)
from simple_repository_server.repository import RepositoryGroup
from simple_repository_server.testing import conformance
from simple_repository_server.testing.conformance import Check, WrapperCheck
from tests.contract.components import (
    ALONE,
    CACHED,
    KNOWN,
    OTHER,
    PAIRS,
    PEEKING,
    SOURCES,
    WRAPPERS,
    Place,
    build,
    read,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("names", ALONE, ids="(".join)
async def test_component_conforms(names: list[str], check: Check, place: Place) -> None:
    """Each source, and each wrapper around each source, keeps each promise on a cold cache."""
    async with build(names, place) as repository:
        await check(repository, KNOWN)


@pytest.mark.parametrize("names", CACHED, ids="(".join)
async def test_component_conforms_on_a_warm_cache(names: list[str], place: Place) -> None:
    """What was stored by an earlier process is served under the same promises."""
    for _ in range(2):
        async with build(names, place) as repository:
            for check in conformance.CHECKS:
                await check(repository, KNOWN)


@pytest.mark.parametrize("names", PAIRS, ids="(".join)
async def test_pair_conforms(names: list[str], place: Place) -> None:
    """Each wrapper around each wrapper keeps all promises."""
    async with build(names, place) as repository:
        for check in conformance.CHECKS:
            await check(repository, KNOWN)


@pytest.mark.parametrize("check", conformance.WRAPPER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "names",
    [
        *([outer] for outer in WRAPPERS),
        *([outer, inner] for outer in WRAPPERS for inner in WRAPPERS),
    ],
    ids="(".join,
)
async def test_wrapper_conforms(names: list[str], check: WrapperCheck, place: Place) -> None:
    """Wrappers, alone and in pairs, pass on contexts, outages and states."""

    def wrap(source: Repository) -> Repository:
        for name in reversed(names):
            # A merged page comes from all sources, so the source is merged with an empty one.
            if name.startswith("merged"):
                source = MergedRepository([source, MemoryRepository()])
            else:
                source = WRAPPERS[name](source, place)
        return source

    await check(wrap)


def _classes(repository: Repository) -> set[type[Repository]]:
    inner = repository.sources if isinstance(repository, RepositoryGroup) else ()
    return {type(repository)}.union(*map(_classes, inner))


def _public_components() -> set[type[Repository]]:
    exported = [
        getattr(simple_repository_server, name) for name in simple_repository_server.__all__
    ]
    return {
        one
        for one in exported
        if inspect.isclass(one) and issubclass(one, Repository) and not inspect.isabstract(one)
    }


def test_every_public_component_is_in_the_matrix(place: Place) -> None:
    """Components that are exported are checked alone, and in pairs where they are wrappers."""
    public = _public_components()
    alone = set[type[Repository]]().union(*(_classes(build(names, place)) for names in ALONE))
    assert public <= alone, "add new components to SOURCES or WRAPPERS"
    wrappers = {one for one in public if issubclass(one, RepositoryGroup)}
    outer = {type(build(names, place)) for names in PAIRS}
    assert wrappers <= outer, "add new wrappers to WRAPPERS"


@pytest.mark.parametrize(
    "names",
    [
        *([source] for source in SOURCES),
        *([outer, source] for outer in PEEKING for source in SOURCES),
        *([outer, inner, "html"] for outer in PEEKING for inner in PEEKING),
    ],
    ids="(".join,
)
async def test_warm_component_answers_peeks(names: list[str], place: Place) -> None:
    """After a lookup, list, page, file and metadata are answered without waiting."""
    async with build(names, place) as repository:
        page = await repository.get_project_page(KNOWN.project)
        files = [file.filename for file in page.files]
        announced = [file.filename.metadata for file in page.files if file.core_metadata]
        for name in [*files, *announced]:
            await read(repository, page.name, name)
            await _until_peeked(
                partial(repository.peek_resource, page.name, name),
                partial(repository.get_resource, page.name, name),
            )
        await _until_peeked(
            partial(repository.peek_project_page, page.name),
            partial(repository.get_project_page, page.name),
        )
        if names[-1] != "offline":  # its list is computed from the files that are stored
            await _until_peeked(repository.peek_project_list, repository.get_project_list)


async def _until_peeked(
    peek: Callable[[], object | None], get: Callable[[], Awaitable[object]]
) -> None:
    """Look up until the peek answers: directories are scanned again twice a second."""
    async with asyncio.timeout(5):
        await get()
        while peek() is None:
            await asyncio.sleep(0.01)
            await get()


HIDING: dict[str, Callable[[Repository], Repository]] = {
    "allow": lambda source: AllowListRepository(source, allowed=["demo"]),
    "deny": lambda source: DenyListRepository(source, denied=["o_t.h-e_r", "OTHER"]),
}


@pytest.mark.parametrize("outer", ["none", *WRAPPERS])
@pytest.mark.parametrize("hiding", HIDING)
@pytest.mark.parametrize("source", SOURCES)
async def test_hidden_is_hidden(outer: str, hiding: str, source: str, place: Place) -> None:
    """What a filter hides stays hidden under every wrapper that adds no source of its own."""
    if outer in ("merged", "merged-after"):
        outer = "container"
    repository = HIDING[hiding](SOURCES[source](place))
    if outer in WRAPPERS:
        repository = WRAPPERS[outer](repository, place)
    async with repository:
        names = [FileName(built.filename) for built in OTHER]
        await conformance.assert_hidden(repository, ProjectName("other"), names)


async def test_project_denied_in_the_first_source_is_taken_wholly_from_the_second(
    place: Place,
) -> None:
    """A filter inside a priority list hides page and files alike, so the second source has both."""
    local = LocalRepository(place.packages)
    second = MemoryRepository()
    second.add("other-9.0-py3-none-any.whl", b"from the second source")
    repository = PrioritySelectedProjectsRepository(
        [DenyListRepository(local, denied=["other"]), second]
    )
    async with repository:
        page = await repository.get_project_page(ProjectName("other"))
        assert page.versions == ("9.0",)
        resource = await repository.get_resource(page.name, page.files[0].filename)
        async with resource.open() as body:
            assert b"".join([c async for c in body.chunks]) == b"from the second source"


@pytest.mark.parametrize("wrapper", PEEKING)
def test_wrappers_are_total(wrapper: str, place: Place) -> None:
    """A wrapper states its intent for page and file: none overrides one and forgets the other."""
    kind = type(WRAPPERS[wrapper](MemoryRepository(), place))
    own = {name for base in kind.__mro__[:2] for name in vars(base)}
    assert {"get_project_page", "get_resource"} <= own
    assert {"peek_project_list", "peek_project_page", "peek_resource"} <= own
