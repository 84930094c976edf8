"""Our repositories inside the library: its combinations do not undo what ours decide."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from simple_repository import SimpleRepository, errors, model, serializer
from simple_repository.components.allow_list import AllowListRepository
from simple_repository.components.new_releases_remover import NewReleasesRemover
from simple_repository.components.priority_selected import PrioritySelectedProjectsRepository
from simple_repository.components.resource_cache import ResourceCacheRepository
from simple_repository.components.yanking import GlobYankProvider, YankRepository
from simple_repository.content_negotiation import Format
from typing_extensions import override

from simple_repository_server import (
    NO_CONTEXT,
    BytesResource,
    FileName,
    FilesMode,
    HttpRepository,
    LocalRepository,
    MemoryRepository,
    PathResource,
    ProjectList,
    ProjectName,
    ProjectPage,
    Repository,
    RepositoryContainer,
    RequestContext,
    Resource,
)
from simple_repository_server.adapters.simple_repository import (
    from_simple_repository,
    to_simple_repository,
)
from simple_repository_server.adapters.to_library_pages import detail_of
from simple_repository_server.errors import (
    HiddenByRule,
    RepositoryError,
    ResourceNotFound,
    RuleUnavailable,
    SourceTimeout,
    SourceUnavailable,
)
from simple_repository_server.model import File, ProjectStatus, Status
from simple_repository_server.resource import METADATA_TYPE
from simple_repository_server.testing.conformance import Recording
from simple_repository_server.testing.distributions import build_sdist, build_wheel
from simple_repository_server.testing.lookups import read_all
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream

pytestmark = pytest.mark.anyio
DEMO = ProjectName("demo")
WHEEL = build_wheel("demo", "1.0")
NAME = FileName(WHEEL.filename)


class Failing(RepositoryContainer):
    """A source that raises an error once it is given one."""

    error: RepositoryError | None = None

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        if self.error is not None:
            raise self.error
        return await self.source.get_project_page(project, context=context)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        if self.error is not None:
            raise self.error
        return await self.source.get_resource(project, filename, context=context)


def _memory(version: str = "1.0") -> MemoryRepository:
    repository = MemoryRepository()
    built = build_wheel("demo", version)
    repository.add(built.filename, built.content, metadata=built.metadata)
    return repository


async def _bytes(component: SimpleRepository, name: str) -> bytes:
    resource = await component.get_resource("demo", name)
    if isinstance(resource, model.TextResource):
        return resource.text.encode()
    assert isinstance(resource, model.LocalResource)
    assert resource.path.name == name
    return resource.path.read_bytes()


def _hidden(*, concealed: bool = False) -> HiddenByRule:
    return HiddenByRule(
        "demo", NAME, rule="deny", reason="demo is hidden by the rule deny.", concealed=concealed
    )


async def test_pages_files_and_metadata_are_those_of_the_repository() -> None:
    """Under any spelling of the project, the library gets the page, the file and its metadata."""
    async with to_simple_repository(_memory()) as component:
        page = await component.get_project_page("Demo")
        assert await component.get_project_page("demo") is page
        assert [file.filename for file in page.files] == [NAME]
        assert page.files[0].hashes == {"sha256": WHEEL.sha256}
        assert page.files[0].dist_info_metadata
        assert (page.meta.api_version, page.versions) == ("1.1", frozenset(["1.0"]))
        names = await component.get_project_list()
        assert [element.name for element in names.projects] == ["demo"]
        assert await _bytes(component, NAME) == WHEEL.content
        assert await _bytes(component, NAME.metadata) == WHEEL.metadata


async def test_fields_that_the_library_lacks_are_lost_or_private() -> None:
    """Times are without a zone, reasons as in HTML, and provenance is a private key."""
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    file = File(
        filename=NAME,
        url="https://files.example/x",
        hashes={},
        size=None,
        upload_time=moment,
        yanked='<b> "quoted"',
        provenance="https://index.example/provenance",
        private={"_team": ["a"]},
    )
    page = ProjectPage(name=DEMO, files=(file,), versions=("1.0",))
    async with to_simple_repository(MemoryRepository({DEMO: page})) as component:
        found = await component.get_project_page("demo")
    assert found.meta.api_version == "1.0", "1.1 requires sizes"
    assert found.files[0].upload_time == moment.replace(tzinfo=None)
    assert dict(found.files[0].private_metadata) == {
        "_provenance": "https://index.example/provenance",
        "_team": ("a",),
    }
    assert 'data-yanked="&lt;b&gt; &quot;quoted&quot;"' in serializer.serialize(
        found, Format.HTML_V1
    )


async def test_absence_is_that_of_the_library() -> None:
    """Absent projects and invalid names are `PackageNotFoundError`, files `ResourceUnavailable`."""
    async with to_simple_repository(_memory()) as component:
        for project in ("other", "no name!"):
            with pytest.raises(errors.PackageNotFoundError):
                await component.get_project_page(project)
            for filename in (NAME, "../x"):
                with pytest.raises(errors.PackageNotFoundError):
                    await component.get_resource(project, filename)
        for filename in ("demo-2.0.tar.gz", "../x", ""):
            with pytest.raises(errors.ResourceUnavailable):
                await component.get_resource("demo", filename)


@pytest.mark.parametrize("concealed", [False, True])
async def test_hidden_project_is_not_taken_from_the_next_source(concealed: bool) -> None:
    """A project that a rule hides keeps its name in a combination of the library."""
    first = Failing(_memory())
    first.error = _hidden(concealed=concealed)
    inner = [to_simple_repository(first), to_simple_repository(_memory("9.0"))]
    component = PrioritySelectedProjectsRepository(inner)
    async with from_simple_repository(component, contains=inner) as repository:
        page = await repository.get_project_page(DEMO)
        assert page.files == ()
        assert page.private == ({} if concealed else {"_hidden": str(first.error)})
        for version in ("1.0", "9.0"):
            name = FileName(build_wheel("demo", version).filename)
            with pytest.raises(ResourceNotFound):
                await repository.get_resource(DEMO, name)
        reason = "was not found" if concealed else "hidden by the rule deny"
        with pytest.raises(errors.ResourceUnavailable, match=reason):
            await component.get_resource("demo", NAME)


async def test_rule_that_cannot_be_evaluated_is_not_answered_by_a_cache(tmp_path: Path) -> None:
    """During an outage the library's cache answers; when access is refused it must not."""
    source = Failing(_memory())
    async with (
        httpx.AsyncClient() as client,
        to_simple_repository(source) as inner,
    ):
        cache = ResourceCacheRepository(_Cacheable(inner), tmp_path, client)
        assert await _bytes(cache, NAME) == WHEEL.content
        source.error = SourceTimeout("index", "it stopped answering")
        assert await _bytes(cache, NAME) == WHEEL.content
        for error in (
            RuleUnavailable("advisories", "the folder is gone"),
            SourceUnavailable("index", "it refuses us", refused=True),
        ):
            source.error = error
            with pytest.raises(errors.InvalidPackageError, match=str(error)):
                await cache.get_resource("demo", NAME)
        source.error = _hidden()
        with pytest.raises(errors.ResourceUnavailable):
            await cache.get_resource("demo", NAME)


class _Cacheable(AllowListRepository):
    """A component whose local files the library's cache stores."""

    def __init__(self, source: SimpleRepository) -> None:
        super().__init__(source, ("demo",))

    @override
    async def get_resource(self, *args: Any, **options: Any) -> model.Resource:
        resource = await super().get_resource(*args, **options)
        assert isinstance(resource, model.LocalResource)
        return model.LocalResource(resource.path, context=resource.context)


async def test_failure_of_ours_comes_back_as_the_original_error() -> None:
    """Through the library and back, an error is the very one that our repository raised."""
    source = Failing(_memory())
    inner = to_simple_repository(source)
    async with from_simple_repository(
        AllowListRepository(inner, ("demo",)), contains=[inner]
    ) as repository:
        source.error = SourceTimeout("index", "it stopped answering")
        with pytest.raises(SourceTimeout) as raised:
            await repository.get_project_page(DEMO)
        assert raised.value is source.error


async def test_known_tag_is_not_modified() -> None:
    """A request with the tag of the file raises the library's `NotModified`."""
    async with to_simple_repository(_memory()) as component:
        tag = (await component.get_resource("demo", NAME)).context["etag"]
        context = model.RequestContext({"etag": tag})
        with pytest.raises(model.NotModified):
            await component.get_resource("demo", NAME, request_context=context)


async def test_context_of_the_library_becomes_headers() -> None:
    """What a server of the library passes arrives as the header fields of the request."""
    source = Recording(_memory())
    async with to_simple_repository(source) as component:
        context = model.RequestContext({"X-User": "jane", "cache-control": "no-cache", "etag": "x"})
        await component.get_project_page("demo", request_context=context)
    received = source.lookups[0][1]
    assert received.headers == {b"x-user": b"jane", b"cache-control": b"no-cache"}
    assert received.revalidate


@pytest.mark.parametrize("mode", FilesMode)
async def test_remote_file_is_a_redirect_or_a_verified_file(
    mode: FilesMode, upstream: Upstream
) -> None:
    """Clients fetch a remote file themselves in the mode for that, else it is received here."""
    publish_json(upstream, [WHEEL])
    source = HttpRepository(upstream.simple)
    async with to_simple_repository(source, files=mode) as component:
        resource = await component.get_resource("demo", NAME)
        if mode is FilesMode.REDIRECT:
            assert isinstance(resource, model.HttpResource)
            assert resource.url.endswith(NAME)
        else:
            assert isinstance(resource, model.LocalResource)
            assert resource.path.read_bytes() == WHEEL.content


async def test_local_file_is_handed_out_by_its_own_path(tmp_path: Path) -> None:
    """A file of a directory is not copied, and a replaced one is not handed out."""
    path = tmp_path / NAME
    path.write_bytes(WHEEL.content)
    async with to_simple_repository(LocalRepository(tmp_path)) as component:
        resource = await component.get_resource("demo", NAME)
    assert isinstance(resource, model.LocalResource)
    assert resource.path == path
    assert not resource.to_cache


async def test_temporary_files_stay_within_their_budget_and_are_deleted() -> None:
    """The file unused for longest is evicted, a larger one refused, and closing deletes all."""
    source = MemoryRepository()
    built = [build_sdist("demo", f"{n}.0") for n in range(4)]
    for one in built:
        source.add(one.filename, one.content)
    budget = 2 * len(built[0].content) + 50
    async with to_simple_repository(source, spool_bytes=budget) as component:
        paths = []
        for one in built:
            resource = await component.get_resource("demo", one.filename)
            assert isinstance(resource, model.LocalResource)
            paths.append(resource.path)
        assert [path.exists() for path in paths] == [False, False, True, True]
        again = await component.get_resource("demo", built[3].filename)
        assert isinstance(again, model.LocalResource)
        assert again.path == paths[3]
        source.add("demo-5.0.tar.gz", bytes(budget + 1))
        with pytest.raises(errors.SourceRepositoryUnavailable, match="larger than"):
            await component.get_resource("demo", "demo-5.0.tar.gz")
    assert not any(path.exists() for path in paths)
    with pytest.raises(errors.SourceRepositoryUnavailable, match="enter the component"):
        await component.get_resource("demo", built[0].filename)


async def test_file_that_fails_its_check_is_not_handed_out(upstream: Upstream) -> None:
    """A remote file with other bytes than its page states leaves no temporary file."""
    publish_json(upstream, [WHEEL])
    page = ProjectPage(
        name=DEMO,
        files=(File(filename=NAME, url="memory:", hashes={"sha256": "0" * 64}),),
        versions=("1.0",),
    )

    class Changed(RepositoryContainer):
        @override
        async def get_resource(
            self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
        ) -> Resource:
            resource = await self.source.get_resource(project, filename, context=context)
            resource.hashes, resource.sha256 = page.files[0].hashes, None
            return resource

    source = Changed(HttpRepository(upstream.simple))
    async with to_simple_repository(source, files=FilesMode.STREAM) as component:
        for _ in range(2):
            with pytest.raises(errors.SourceRepositoryUnavailable, match="digest"):
                await component.get_resource("demo", NAME)


async def test_quarantined_project_offers_no_files_to_the_library() -> None:
    """Its page exists without files (PEP 792)."""
    page = await _memory().get_project_page(DEMO)
    quarantined = msgspec.structs.replace(page, status=ProjectStatus(Status.QUARANTINED))
    async with to_simple_repository(MemoryRepository({DEMO: quarantined})) as component:
        assert (await component.get_project_page("demo")).files == ()
        with pytest.raises(errors.ResourceUnavailable):
            await component.get_resource("demo", NAME)


def _stacks(folder: Path) -> Iterator[tuple[str, Any]]:
    file = folder / "yanked.json"
    file.write_text(json.dumps({"demo": ["*.whl", "a < b"]}))
    yield "yank", lambda source: YankRepository(source, GlobYankProvider(file))
    yield "remover", lambda source: NewReleasesRemover(source, timedelta(days=3650))


async def test_policies_of_the_library_hold_for_pages_and_files(tmp_path: Path) -> None:
    """A yank and a time filter of the library around ours are seen on our page, and by its files.

    The library's own time filter hides a file from the page and still serves it.
    """
    publish_file = tmp_path / NAME
    publish_file.write_bytes(WHEEL.content)
    stacks = dict(_stacks(tmp_path))
    for name, stack in stacks.items():
        inner = to_simple_repository(LocalRepository(tmp_path))
        repository: Repository = from_simple_repository(stack(inner), contains=[inner])
        async with repository:
            page = await repository.get_project_page(DEMO)
            if name == "yank":
                assert page.files[0].yanked == "a < b"
                content = await read_all(await repository.get_resource(DEMO, NAME))
                assert content == WHEEL.content
            else:
                assert page.files == ()
                with pytest.raises(ResourceNotFound):
                    await repository.get_resource(DEMO, NAME)


async def test_failing_list_is_an_outage_of_the_library() -> None:
    """The list of a repository that cannot answer raises, with the sentence of its error."""

    class Listless(RepositoryContainer):
        @override
        async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
            raise SourceUnavailable("index", "it is down")

    async with to_simple_repository(Listless(_memory())) as component:
        with pytest.raises(errors.SourceRepositoryUnavailable, match="index is unavailable"):
            await component.get_project_list()


class Given(RepositoryContainer):
    """A source with a given resource for each file."""

    def __init__(self, source: Repository, resource: Resource) -> None:
        super().__init__(source)
        self._resource = resource

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        return self._resource


async def test_cached_file_that_is_lost_is_replaced_by_its_origin(tmp_path: Path) -> None:
    """A file that is no longer what it was is not handed out; its fallback is, if there is one."""
    path = tmp_path / NAME
    path.write_bytes(WHEEL.content)
    lost = PathResource(path, size=len(WHEEL.content), mtime_ns=0)
    async with to_simple_repository(Given(_memory(), lost)) as component:
        with pytest.raises(errors.SourceRepositoryUnavailable, match="replaced or changed"):
            await component.get_resource("demo", NAME)
        lost.fallback = BytesResource(b"from the origin")
        assert await _bytes(component, NAME) == b"from the origin"


async def test_metadata_that_is_no_text_is_handed_out_byte_by_byte() -> None:
    """Core metadata in another encoding than UTF-8 is not changed on the way."""
    latin = BytesResource("Author: Jürgen".encode("latin-1"), media_type=METADATA_TYPE)
    async with to_simple_repository(Given(_memory(), latin)) as component:
        assert await _bytes(component, NAME.metadata) == latin.content


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="needs time zones of the process")
async def test_time_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the time zone of the server is, the library gets the time of the page."""
    source = _memory()
    page = await source.get_project_page(DEMO)
    moment = datetime(2026, 1, 1, 12)
    dated = msgspec.structs.replace(page.files[0], upload_time=moment)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        found = detail_of(msgspec.structs.replace(page, files=(dated,)))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found.files[0].upload_time == moment
