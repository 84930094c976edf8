"""The components of the conformance matrix, and what they get their files from."""

from collections.abc import Callable
from pathlib import Path

import pytest

from simple_repository_server import (
    AllowListRepository,
    CacheFolder,
    CachePolicy,
    DenyListRepository,
    FileCache,
    FileCacheRepository,
    FileName,
    HttpRepository,
    LocalRepository,
    MemoryRepository,
    MergedRepository,
    MetadataInjectorRepository,
    MetadataStore,
    PrioritySelectedProjectsRepository,
    ProjectName,
    Repository,
    RepositoryContainer,
)
from simple_repository_server.errors import ProjectNotFound
from simple_repository_server.policy.repository import RuleRepository
from simple_repository_server.policy.reserved import ReservedNamesRepository
from simple_repository_server.testing.conformance import Known
from simple_repository_server.testing.distributions import build_sdist, build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Upstream
from tests.policy.simple_rules import HideFiles, HideProjects, Yank

DEMO = [build_wheel("demo", "1.0"), build_wheel("demo", "1.1"), build_sdist("demo", "1.1")]
OTHER = [build_wheel("other", "2.0")]
KNOWN = Known(project=ProjectName("demo"))


class Origin:
    """A directory, a JSON index and an HTML index with the same files, and a warm cache."""

    def __init__(self, folder: Path, json_index: Upstream, html_index: Upstream) -> None:
        self.packages = folder / "packages"
        self.packages.mkdir()
        for built in [*DEMO, *OTHER]:
            (self.packages / built.filename).write_bytes(built.content)
        publish_json(json_index, [*DEMO, *OTHER], max_age=60)
        publish_html(html_index, [*DEMO, *OTHER])
        self.json_index, self.html_index = json_index, html_index
        #: A cache in which everything is stored that the JSON index has, for offline servers.
        self.warm = folder / "warm"


class Place(Origin):
    """The origin, and a folder of its own for the caches of one combination."""

    def __init__(self, origin: Origin, folder: Path) -> None:
        self.__dict__.update(vars(origin))
        self.disk = CacheFolder(folder)


async def fill_cache(origin: Origin) -> None:
    """Look up and read everything, as clients of a server that is online do."""
    async with _as_wired(origin, CacheFolder(origin.warm), offline=False) as repository:
        await repository.get_project_list()
        for name in ("demo", "other"):
            page = await repository.get_project_page(ProjectName(name))
            for file in page.files:
                for filename in (file.filename, file.filename.metadata):
                    if filename == file.filename or file.is_wheel:
                        await read(repository, page.name, filename)
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(KNOWN.absent)


async def read(repository: Repository, project: ProjectName, filename: FileName) -> None:
    """Read a whole resource, as a client does."""
    async with (await repository.get_resource(project, filename)).open() as body:
        assert [chunk async for chunk in body.chunks]


def memory() -> MemoryRepository:
    """The files of the origin, the wheels with metadata."""
    repository = MemoryRepository()
    for built in [*DEMO, *OTHER]:
        wheel = built.filename.endswith(".whl")
        repository.add(built.filename, built.content, metadata=built.metadata if wheel else None)
    return repository


def without_metadata() -> MemoryRepository:
    """The files of the origin, all without metadata."""
    repository = MemoryRepository()
    for built in [*DEMO, *OTHER]:
        repository.add(built.filename, built.content)
    return repository


def _as_wired(origin: Origin, disk: CacheFolder, *, offline: bool) -> Repository:
    """An index with its caches, as the command wires them."""
    index = HttpRepository(
        origin.json_index.simple, cache=disk, policy=CachePolicy(offline=offline)
    )
    files = FileCacheRepository(index, FileCache(disk), cached_only=offline)
    return MetadataInjectorRepository(files, store=MetadataStore(disk))


SOURCES: dict[str, Callable[[Place], Repository]] = {
    "memory": lambda _: memory(),
    "without-metadata": lambda _: without_metadata(),
    "local": lambda place: LocalRepository(place.packages),
    "json": lambda place: HttpRepository(place.json_index.simple),
    "html": lambda place: HttpRepository(place.html_index.simple),
    "json-on-disk": lambda place: HttpRepository(place.json_index.simple, cache=place.disk),
    "html-on-disk": lambda place: HttpRepository(place.html_index.simple, cache=place.disk),
    "wired": lambda place: _as_wired(place, place.disk, offline=False),
    "offline": lambda place: _as_wired(place, CacheFolder(place.warm), offline=True),
}
WRAPPERS: dict[str, Callable[[Repository, Place], Repository]] = {
    "container": lambda source, _: RepositoryContainer(source),
    "priority": lambda source, _: PrioritySelectedProjectsRepository([MemoryRepository(), source]),
    "merged": lambda source, _: MergedRepository([source, memory()]),
    "merged-after": lambda source, _: MergedRepository([memory(), source]),
    "allow": lambda source, _: AllowListRepository(source, allowed=["Demo"]),
    "deny": lambda source, _: DenyListRepository(source, denied=["Other"]),
    "metadata": lambda source, _: MetadataInjectorRepository(source),
    "metadata-on-disk": lambda source, place: MetadataInjectorRepository(
        source, store=MetadataStore(place.disk)
    ),
    "reserved": lambda source, _: ReservedNamesRepository(source, ["corp-*", "Other"]),
    "rules": lambda source, _: RuleRepository(
        source,
        [
            HideFiles("no sdists", "*.tar.gz"),
            Yank("yanked", "demo-1.0-*"),
            HideProjects("no hidden projects", "hidden-*"),
            HideFiles("only reported", "*", dry_run=True),
        ],
    ),
    "source-rules": lambda source, _: RuleRepository(
        source, [HideProjects("no other", "other")], owns_names=True
    ),
    "files": lambda source, place: FileCacheRepository(source, FileCache(place.disk)),
}
#: Wrappers that have no state on disk: for a warm run they must be around something that has.
STATELESS = (
    "container",
    "priority",
    "merged",
    "merged-after",
    "allow",
    "deny",
    "metadata",
    "reserved",
    "rules",
    "source-rules",
)
ON_DISK = ("json-on-disk", "html-on-disk", "wired", "offline")
#: All but the container, whose peeks answer None so that the rules of subclasses hold.
PEEKING = [name for name in WRAPPERS if name != "container"]
ALONE = [
    *([source] for source in SOURCES),
    *([wrapper, source] for wrapper in WRAPPERS for source in SOURCES),
]
PAIRS = [
    [outer, inner, source]
    for outer in WRAPPERS
    for inner in WRAPPERS
    for source in ("local", "html", "json-on-disk", "offline")
]
#: The combinations with a cache on disk of their own.
CACHED = [
    names
    for names in ALONE
    if names[-1] in ON_DISK or (len(names) > 1 and names[0] not in STATELESS)
]


def build(names: list[str], place: Place) -> Repository:
    """The source named last, inside the wrappers named before, the outermost first."""
    *wrappers, source = names
    repository = SOURCES[source](place)
    for wrapper in reversed(wrappers):
        repository = WRAPPERS[wrapper](repository, place)
    return repository
