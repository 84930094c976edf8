"""Components of the `simple-repository` library keep the promises of our interface inside it."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from simple_repository import SimpleRepository
from simple_repository.components.allow_list import AllowListRepository
from simple_repository.components.core import RepositoryContainer
from simple_repository.components.deny_list import DenyListRepository
from simple_repository.components.http import HttpRepository
from simple_repository.components.http_cached import CachedHttpRepository
from simple_repository.components.local import LocalRepository
from simple_repository.components.merged import MergedRepository
from simple_repository.components.metadata_injector import MetadataInjectorRepository
from simple_repository.components.new_releases_remover import NewReleasesRemover
from simple_repository.components.priority_selected import PrioritySelectedProjectsRepository
from simple_repository.components.private_metadata_setter import PrivateMetadataSettingRepository
from simple_repository.components.resource_cache import ResourceCacheRepository
from simple_repository.components.yanking import GlobYankProvider, YankRepository

from simple_repository_server import FileName, MemoryRepository, ProjectName, Repository
from simple_repository_server.adapters.simple_repository import (
    from_simple_repository,
    to_simple_repository,
)
from simple_repository_server.testing import conformance
from simple_repository_server.testing.conformance import Check, WrapperCheck
from tests.contract import components
from tests.contract.components import DEMO, KNOWN, OTHER, Place

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """The client of the library's components, which they do not close themselves."""
    async with httpx.AsyncClient(follow_redirects=True) as client:
        yield client


def _local(place: Place, folder: Path, _: httpx.AsyncClient) -> Repository:
    for built in [*DEMO, *OTHER]:
        project = folder / built.filename.partition("-")[0]
        project.mkdir(exist_ok=True)
        (project / built.filename).write_bytes(built.content)
    return from_simple_repository(LocalRepository(folder))


def _http(place: Place, _: Path, client: httpx.AsyncClient) -> Repository:
    url = place.json_index.simple
    return from_simple_repository(HttpRepository(url, client), url=url)


def _cached_http(place: Place, folder: Path, client: httpx.AsyncClient) -> Repository:
    url = place.html_index.simple
    return from_simple_repository(CachedHttpRepository(url, folder, client), url=url)


def _yanking(source: SimpleRepository, folder: Path, _: httpx.AsyncClient) -> SimpleRepository:
    file = folder / "yanked.json"
    file.write_text(json.dumps({"demo": ["*.tar.gz", "build it again"]}))
    return YankRepository(source, GlobYankProvider(file))


SOURCES: dict[str, Callable[[Place, Path, httpx.AsyncClient], Repository]] = {
    "local": _local,
    "http": _http,
    "http-cached": _cached_http,
}
Make = Callable[[SimpleRepository, Path, httpx.AsyncClient], SimpleRepository]
WRAPPERS: dict[str, Make] = {
    "container": lambda source, *_: RepositoryContainer(source),
    "allow": lambda source, *_: AllowListRepository(source, ("demo",)),
    "deny": lambda source, *_: DenyListRepository(source, ("other",)),
    "priority": lambda source, *_: PrioritySelectedProjectsRepository(
        [to_simple_repository(MemoryRepository()), source]
    ),
    "merged": lambda source, *_: MergedRepository(
        [source, to_simple_repository(MemoryRepository())]
    ),
    "metadata": lambda source, _, client: MetadataInjectorRepository(source, client),
    "remover": lambda source, *_: NewReleasesRemover(source, timedelta(0)),
    "private": lambda source, *_: PrivateMetadataSettingRepository(source, {"_team": "index"}),
    "cache": ResourceCacheRepository,
    "yank": _yanking,
}
INSIDE = ["memory", "without-metadata", "local", "json", "wired"]


def _around(name: str, source: Repository, folder: Path, client: httpx.AsyncClient) -> Repository:
    """A component of the library around one of our repositories, as one of our repositories."""
    inner = to_simple_repository(source)
    return from_simple_repository(WRAPPERS[name](inner, folder, client), contains=[inner])


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SOURCES)
async def test_source_of_the_library_conforms(
    name: str, check: Check, place: Place, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    """Each source of the library keeps each promise."""
    async with SOURCES[name](place, tmp_path, client) as repository:
        await check(repository, KNOWN)


@pytest.mark.parametrize("source", INSIDE)
@pytest.mark.parametrize("name", WRAPPERS)
async def test_component_around_ours_conforms(
    name: str, source: str, place: Place, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    """Each component of the library around each of our sources keeps all promises."""
    inside = components.SOURCES[source](place)
    async with _around(name, inside, tmp_path, client) as repository:
        for check in conformance.CHECKS:
            await check(repository, KNOWN)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("wrapper", components.WRAPPERS)
async def test_our_component_around_the_library_conforms(
    wrapper: str, name: str, place: Place, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    """Each of our components around each source of the library keeps all promises."""
    source = SOURCES[name](place, tmp_path, client)
    async with components.WRAPPERS[wrapper](source, place) as repository:
        for check in conformance.CHECKS:
            await check(repository, KNOWN)


@pytest.mark.parametrize("check", conformance.WRAPPER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", WRAPPERS)
async def test_component_of_the_library_conforms_as_a_wrapper(
    name: str, check: WrapperCheck, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    """Contexts, outages and states pass through each component of the library."""
    if name == "cache" and check.__name__ == "context_is_passed_on":
        pytest.skip("it passes a context of its own, with the tag of what it has")
    await check(lambda source: _around(name, source, tmp_path, client))


@pytest.mark.parametrize("name", ["allow", "deny"])
async def test_project_hidden_by_the_library_is_hidden(
    name: str, place: Place, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    """What a filter of the library hides has no page, file or metadata under any spelling."""
    inside = components.SOURCES["local"](place)
    async with _around(name, inside, tmp_path, client) as repository:
        names = [FileName(built.filename) for built in OTHER]
        await conformance.assert_hidden(repository, ProjectName("other"), names)
