"""Every component, alone and in pairs, keeps the promises of the interface."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from simple_repository_server import (
    AllowListRepository,
    CacheFolder,
    DenyListRepository,
    FileCache,
    FileCacheRepository,
    FileName,
    HttpRepository,
    LocalRepository,
    MemoryRepository,
    MergedRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    ProjectName,
    Repository,
    RepositoryContainer,
)
from simple_repository_server.testing import conformance
from simple_repository_server.testing.conformance import Check, Known
from simple_repository_server.testing.distributions import build_sdist, build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Upstream

pytestmark = pytest.mark.anyio

DEMO = [build_wheel("demo", "1.0"), build_wheel("demo", "1.1"), build_sdist("demo", "1.1")]
OTHER = [build_wheel("other", "2.0")]
KNOWN = Known(project=ProjectName("demo"))


class Places:
    """Where the sources under test get their files from."""

    def __init__(self, folder: Path, json_index: Upstream, html_index: Upstream) -> None:
        self.folder = folder / "packages"
        self.folder.mkdir()
        self.scratch = folder
        for built in [*DEMO, *OTHER]:
            (self.folder / built.filename).write_bytes(built.content)
        publish_json(json_index, [*DEMO, *OTHER], max_age=60)
        publish_html(html_index, [*DEMO, *OTHER])
        self.json_index, self.html_index = json_index, html_index

    def disk(self) -> CacheFolder:
        """An empty cache."""
        return CacheFolder(Path(tempfile.mkdtemp(dir=self.scratch)))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A directory, a JSON index and an HTML index with the same files."""
    with Upstream() as json_index, Upstream() as html_index:
        yield Places(tmp_path_factory.mktemp("files"), json_index, html_index)


def _memory(_: Places | None = None) -> MemoryRepository:
    repository = MemoryRepository()
    for built in [*DEMO, *OTHER]:
        wheel = built.filename.endswith(".whl")
        repository.add(built.filename, built.content, metadata=built.metadata if wheel else None)
    return repository


def _bare(places: Places) -> Repository:
    """Wheels without metadata."""
    del places
    repository = MemoryRepository()
    for built in [*DEMO, *OTHER]:
        repository.add(built.filename, built.content)
    return repository


Make = Callable[[Places], Repository]

SOURCES: dict[str, Make] = {
    "memory": _memory,
    "bare": _bare,
    "local": lambda places: LocalRepository(places.folder),
    "json": lambda places: HttpRepository(places.json_index.simple),
    "html": lambda places: HttpRepository(places.html_index.simple),
    "disk": lambda places: HttpRepository(places.json_index.simple, cache=places.disk()),
}
Wrap = Callable[[Repository, Places], Repository]
WRAPPERS: dict[str, Wrap] = {
    "container": lambda source, _: RepositoryContainer(source),
    "priority": lambda source, _: PrioritySelectedProjectsRepository([MemoryRepository(), source]),
    "merged": lambda source, _: MergedRepository([source, _memory()]),
    "merged-after": lambda source, _: MergedRepository([_memory(), source]),
    "allow": lambda source, _: AllowListRepository(source, allowed=["Demo"]),
    "deny": lambda source, _: DenyListRepository(source, denied=["Other"]),
    "metadata": lambda source, _: MetadataInjectorRepository(source),
    "files": lambda source, places: FileCacheRepository(source, FileCache(places.disk())),
}
#: All but the container, which answers no peek so that no subclass's rule is passed by.
PEEKING = [name for name in WRAPPERS if name != "container"]
ALONE = [
    *([source] for source in SOURCES),
    *([wrapper, source] for wrapper in WRAPPERS for source in SOURCES),
]
PAIRS = [
    [outer, inner, source]
    for outer in WRAPPERS
    for inner in WRAPPERS
    for source in ("local", "html")
]


def _made(names: list[str], places: Places) -> Repository:
    """The source named last, inside the wrappers named before, the outermost first."""
    *wrappers, source = names
    repository = SOURCES[source](places)
    for wrapper in reversed(wrappers):
        repository = WRAPPERS[wrapper](repository, places)
    return repository


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("names", ALONE, ids="(".join)
async def test_component(names: list[str], check: Check, places: Places) -> None:
    """Each source, and each wrapper around each source, keeps each promise."""
    async with _made(names, places) as repository:
        await check(repository, KNOWN)


@pytest.mark.parametrize("names", PAIRS, ids="(".join)
async def test_pair(names: list[str], places: Places) -> None:
    """Each wrapper around each wrapper keeps all promises."""
    async with _made(names, places) as repository:
        for check in conformance.CHECKS:
            await check(repository, KNOWN)


@pytest.mark.parametrize(
    "names",
    [
        *([source] for source in SOURCES),
        *([outer, source] for outer in PEEKING for source in SOURCES),
        *([outer, inner, "html"] for outer in PEEKING for inner in PEEKING),
    ],
    ids="(".join,
)
async def test_a_warm_component_answers_peeks(names: list[str], places: Places) -> None:
    """What was asked for a moment ago is said again without waiting: list, page, file, metadata."""
    async with _made(names, places) as repository:
        page = await repository.get_project_page(KNOWN.project)
        files = [file.filename for file in page.files]
        described = [FileName(f"{file.filename}.metadata") for file in page.files if file.is_wheel]
        announced = names[0] == "metadata" or all(f.core_metadata for f in page.files if f.is_wheel)
        for name in [*files, *(described if announced else [])]:
            async with (await repository.get_resource(page.name, name)).open() as body:
                assert [chunk async for chunk in body.chunks]
            await _until_peeked(
                partial(repository.peek_resource, page.name, name),
                partial(repository.get_resource, page.name, name),
            )
        await _until_peeked(
            partial(repository.peek_project_page, page.name),
            partial(repository.get_project_page, page.name),
        )
        await _until_peeked(repository.peek_project_list, repository.get_project_list)


async def _until_peeked(
    peek: Callable[[], object | None], get: Callable[[], Awaitable[object]]
) -> None:
    """Ask until the peek answers: what is looked at twice a second may be old by now."""
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
async def test_hidden_is_hidden(outer: str, hiding: str, source: str, places: Places) -> None:
    """What a filter hides stays hidden under every wrapper that adds no source of its own."""
    if outer in ("merged", "merged-after"):
        outer = "container"
    repository = HIDING[hiding](SOURCES[source](places))
    if outer in WRAPPERS:
        repository = WRAPPERS[outer](repository, places)
    async with repository:
        names = [FileName(built.filename) for built in OTHER]
        await conformance.assert_hidden(repository, ProjectName("other"), names)


async def test_a_filter_inside_a_priority_list_hands_on_wholly(places: Places) -> None:
    """A project denied in the first source is the second one's, page and files alike."""
    local = LocalRepository(places.folder)
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
def test_wrappers_are_total(wrapper: str, places: Places) -> None:
    """A wrapper states its intent for page and file: none overrides one and forgets the other."""
    kind = type(WRAPPERS[wrapper](MemoryRepository(), places))
    own = {name for base in kind.__mro__[:2] for name in vars(base)}
    assert {"get_project_page", "get_resource"} <= own
    assert {"peek_project_list", "peek_project_page", "peek_resource"} <= own
