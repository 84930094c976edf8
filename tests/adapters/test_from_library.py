"""A component of the library inside ours: no error leaks, and bytes are what the page states."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from simple_repository import errors, model

from simple_repository_server import (
    DenyListRepository,
    FileName,
    HttpRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    ProjectName,
    Repository,
    RequestContext,
    create_app,
)
from simple_repository_server.adapters.simple_repository import (
    from_simple_repository,
    to_simple_repository,
)
from simple_repository_server.errors import (
    ProjectNotFound,
    RepositoryError,
    ResourceNotFound,
    SourceInvalid,
    SourceTimeout,
    SourceUnavailable,
    TransferAborted,
)
from simple_repository_server.observe.events import (
    EntriesDropped,
    Event,
    SourceFailed,
    SourceRecovered,
)
from simple_repository_server.testing.distributions import build_sdist
from simple_repository_server.testing.lookups import read_all
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.adapters.stub import WHEEL, Stub, detail, file_of, on_disk
from tests.asgi import JSON, ask, running

pytestmark = pytest.mark.anyio
DEMO = ProjectName("demo")
NAME = FileName(WHEEL.filename)

FAILURES: list[tuple[BaseException, type[RepositoryError], type[RepositoryError]]] = [
    (errors.PackageNotFoundError("demo"), ProjectNotFound, ResourceNotFound),
    (errors.ResourceUnavailable("demo"), SourceUnavailable, ResourceNotFound),
    (errors.SourceRepositoryUnavailable(), SourceUnavailable, SourceUnavailable),
    (errors.UnsupportedSerialization("text/odd"), SourceInvalid, SourceInvalid),
    (errors.InvalidPackageError("no wheel"), SourceInvalid, SourceInvalid),
    (model.NotModified(), SourceInvalid, SourceInvalid),
    (TimeoutError("too slow"), SourceTimeout, SourceTimeout),
    (KeyError("files"), SourceUnavailable, SourceUnavailable),
    (LookupError(), SourceUnavailable, SourceUnavailable),
    (asyncio.CancelledError(), SourceUnavailable, SourceUnavailable),
]


@pytest.mark.parametrize(
    ("raised", "of_page", "of_file"), FAILURES, ids=lambda value: type(value).__name__
)
async def test_each_failure_of_a_component_is_an_error_of_ours(
    raised: BaseException, of_page: type[RepositoryError], of_file: type[RepositoryError]
) -> None:
    """List, page and file raise our errors, and absence only if the component is certain."""
    async with from_simple_repository(Stub(page=raised, names=raised)) as repository:
        with pytest.raises(SourceUnavailable):
            await repository.get_project_list()
        with pytest.raises(RepositoryError) as page:
            await repository.get_project_page(DEMO)
    async with from_simple_repository(Stub(resource=raised)) as repository:
        with pytest.raises(RepositoryError) as file:
            await repository.get_resource(DEMO, NAME)
    assert (type(page.value), type(file.value)) == (of_page, of_file)


async def test_failure_of_a_component_reveals_no_password() -> None:
    """The sentence names the component and the kind of failure, not the text of its exception."""
    outage = errors.SourceRepositoryUnavailable("https://jane:secret@index.example/")
    outage.__cause__ = ValueError("https://jane:secret@index.example/")
    async with from_simple_repository(Stub(page=outage), label="company") as repository:
        with pytest.raises(SourceUnavailable) as raised:
            await repository.get_project_page(DEMO)
    assert str(raised.value) == (
        "The source company is unavailable: its component reports an outage (ValueError)."
    )


async def test_component_that_never_answers_is_a_timeout() -> None:
    """Each call has a deadline, whose seconds the error states."""
    async with from_simple_repository(Stub(page="never"), call_s=0.05) as repository:
        with pytest.raises(SourceTimeout, match=r"longer than 0.05 s"):
            await repository.get_project_page(DEMO)


async def test_cancelled_request_is_cancelled() -> None:
    """A client that goes away cancels the call, which is no failure of the component."""
    events: list[Event] = []
    async with from_simple_repository(Stub(page="never"), emit=events.append) as repository:
        task = asyncio.create_task(repository.get_project_page(DEMO))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert events == []


async def test_outage_of_a_component_is_reported_once_and_fails_closed() -> None:
    """While the first source fails no later one is queried; failure and recovery are events."""
    events: list[Event] = []
    stub = Stub(page=errors.SourceRepositoryUnavailable())
    first = from_simple_repository(stub, emit=events.append)
    repository = PrioritySelectedProjectsRepository([first, from_simple_repository(Stub())])
    async with repository:
        for _ in range(2):
            with pytest.raises(SourceUnavailable):
                await repository.get_project_page(DEMO)
        assert [state.available for state in repository.source_states()] == [False, None]
        stub.page = detail()
        await repository.get_project_page(DEMO)
    assert [type(event) for event in events] == [SourceFailed, SourceRecovered]


@pytest.mark.parametrize("answer", [None, 5, "text", model.TextResource("text")])
async def test_answer_of_another_type_is_invalid(answer: Any) -> None:
    """What is no page, list or resource is an invalid response, with its type in the sentence."""
    stub = Stub(resource=answer)
    stub.page = stub.names = answer
    kind = type(answer).__name__
    async with from_simple_repository(stub) as repository:
        for work in (repository.get_project_page(DEMO), repository.get_project_list()):
            with pytest.raises(SourceInvalid, match=kind):
                await work
        stub.page = detail(file_of(hashes={}, size=None), version="1.0")
        if not isinstance(answer, model.TextResource):
            with pytest.raises(SourceInvalid, match=kind):
                await repository.get_resource(DEMO, NAME)


async def test_page_of_another_project_is_invalid() -> None:
    """A page that names another project is not served under the requested name."""
    page = model.ProjectDetail(meta=model.Meta("1.0"), name="other", files=())
    async with from_simple_repository(Stub(page=page)) as repository:
        with pytest.raises(SourceInvalid, match="other"):
            await repository.get_project_page(DEMO)


async def test_fields_of_a_page_arrive() -> None:
    """Each field that both models have is the same, times in UTC, reasons as plain text."""
    full = file_of(
        url="https://jane:secret@files.example/demo.whl",
        requires_python=">=3.9",
        dist_info_metadata={"sha256": WHEEL.sha256, "odd": "zz"},
        gpg_sig=True,
        yanked="a &lt; b",
        upload_time=datetime(2026, 1, 2, 3, 4, 5),
        private_metadata=model.PrivateMetadataMapping.from_any_mapping(
            {"_provenance": "https://index.example/provenance", "_team": {"names": ["a"]}}
        ),
    )
    private = model.PrivateMetadataMapping.from_any_mapping({"_internal": 7})
    stub = Stub(page=detail(full, private_metadata=private))
    async with from_simple_repository(stub) as repository:
        page = await repository.get_project_page(DEMO)
        file = page.files[0]
        assert file.url == "https://files.example/demo.whl"
        assert file.hashes == {"sha256": WHEEL.sha256}
        assert (file.size, file.requires_python) == (len(WHEEL.content), ">=3.9")
        assert file.core_metadata == {"sha256": WHEEL.sha256}
        assert file.yanked == "a < b"
        assert file.upload_time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert file.provenance == "https://index.example/provenance"
        assert (file.private, page.private) == ({"_team": {"names": ["a"]}}, {"_internal": 7})
        assert file.gpg_sig is None, "signatures are not served"
        async with running(create_app(repository)) as app:
            shown = (await ask(app, "/simple/demo/", headers={"Accept": JSON})).json()
    assert shown["_internal"] == 7
    assert shown["files"][0]["_team"] == {"names": ["a"]}
    assert shown["files"][0]["provenance"] == "https://index.example/provenance"
    assert shown["files"][0]["yanked"] == "a < b"


async def test_bad_entries_cost_only_themselves() -> None:
    """An unusable entry is dropped and reported; an unusable value is left out."""
    events: list[Event] = []
    odd: Any = file_of(
        hashes={"sha256": "zz", 5: "x"}, size="big", requires_python=3, upload_time="now", url=7
    )
    bad = file_of(build_sdist("demo", "2.0"), filename="../demo-2.0.tar.gz")
    stub = Stub(page=detail(odd, bad, version="1.0"))
    async with from_simple_repository(stub, emit=events.append) as repository:
        page = await repository.get_project_page(DEMO)
        assert await repository.get_project_page(DEMO) is page
    (file,) = page.files
    assert (file.hashes, file.size, file.requires_python, file.upload_time) == (
        {},
        None,
        None,
        None,
    )
    assert [event.count for event in events if isinstance(event, EntriesDropped)] == [1]


async def test_versions_without_files_are_listed() -> None:
    """Versions are spelt as in file names; those without files stay, invented ones do not."""
    versions = frozenset(["1.0.0", "0.9", "0.0rc0"])
    async with from_simple_repository(Stub(page=detail(versions=versions))) as repository:
        assert (await repository.get_project_page(DEMO)).versions == ("0.9", "1.0")


async def test_equal_page_is_the_same_object_and_never_fresh() -> None:
    """A page is a new object once it differs, and clients must revalidate it each time."""
    stub = Stub(page=detail())
    async with from_simple_repository(stub) as repository:
        first = await repository.get_project_page(DEMO)
        names = await repository.get_project_list()
        stub.page = detail()
        assert await repository.get_project_page(DEMO) is first
        assert await repository.get_project_list() is names
        stub.page = detail(file_of(yanked="broken"))
        second = await repository.get_project_page(DEMO)
        assert (first.files[0].yanked, second.files[0].yanked) == (False, "broken")
        assert second.freshness.at(0.0).max_age == 0
        assert repository.peek_project_page(DEMO) is None


async def test_file_that_is_served_but_not_listed_is_hidden() -> None:
    """The page decides: the component is not called for a file, or metadata, it does not list."""
    stub = Stub(resource=model.TextResource("hidden"))
    async with from_simple_repository(stub) as repository:
        for name in (FileName("demo-2.0-py3-none-any.whl"), NAME.metadata):
            with pytest.raises(ResourceNotFound):
                await repository.get_resource(DEMO, name)
    assert stub.requested == []


async def test_component_gets_the_headers_of_the_request() -> None:
    """Headers are texts in the context, but a header named etag asks for no NotModified."""
    stub = Stub()
    context = RequestContext(headers={b"x-user": b"jane", b"etag": b'"x"'}, revalidate=True)
    async with from_simple_repository(stub) as repository:
        await repository.get_project_page(DEMO, context=context)
    assert stub.contexts[0] is not None
    assert dict(stub.contexts[0].context) == {"x-user": "jane", "cache-control": "no-cache"}


@pytest.mark.parametrize("wrong", [b"", WHEEL.content + b"x", WHEEL.content[:-1] + b"x"])
async def test_local_file_that_differs_from_its_page_is_not_served(
    wrong: bytes, tmp_path: Path
) -> None:
    """Size and digest of a local file are verified before its first byte is sent."""
    async with from_simple_repository(Stub(resource=on_disk(tmp_path, wrong))) as repository:
        for _ in range(2):
            with pytest.raises(SourceInvalid, match=NAME):
                await repository.get_resource(DEMO, NAME)


async def test_local_file_is_sent_by_path_and_verified_again_once_it_changes(
    tmp_path: Path,
) -> None:
    """A verified file can be sent by its descriptor; a replaced one is verified anew."""
    stub = Stub(resource=on_disk(tmp_path))
    async with from_simple_repository(stub) as repository:
        resource = await repository.get_resource(DEMO, NAME)
        assert resource.file_key is not None
        assert await read_all(resource) == WHEEL.content
        on_disk(tmp_path, WHEEL.content[:-1] + b"x")
        with pytest.raises(SourceUnavailable):
            await read_all(resource)
        with pytest.raises(SourceInvalid):
            await repository.get_resource(DEMO, NAME)
        (tmp_path / NAME).unlink()
        with pytest.raises(SourceUnavailable, match="no such file"):
            await repository.get_resource(DEMO, NAME)


async def test_text_is_verified_against_the_announced_digest() -> None:
    """Metadata with another digest than the page announces is an invalid response."""
    announced = file_of(dist_info_metadata={"sha256": "0" * 64})
    stub = Stub(page=detail(announced), resource=model.TextResource("Metadata-Version: 2.1\n"))
    async with from_simple_repository(stub) as repository:
        with pytest.raises(SourceInvalid, match="sha256"):
            await repository.get_resource(DEMO, NAME.metadata)
        stub.page = detail(file_of(dist_info_metadata=True))
        resource = await repository.get_resource(DEMO, NAME.metadata)
        assert await read_all(resource) == b"Metadata-Version: 2.1\n"
        assert resource.may_change


def _remote(upstream: Upstream, **options: Any) -> Repository:
    url = f"{upstream.url}/files/{NAME}"
    return from_simple_repository(Stub(resource=model.HttpResource(url)), **options)


async def test_remote_file_is_streamed_and_verified(upstream: Upstream) -> None:
    """The bytes of a remote file are those of its page, or the body is aborted."""
    upstream.on(f"/files/{NAME}", Reply(body=WHEEL.content))
    async with _remote(upstream, url=upstream.simple) as repository:
        resource = await repository.get_resource(DEMO, NAME)
        assert resource.location == f"{upstream.url}/files/{NAME}"
        assert await read_all(resource) == WHEEL.content
        upstream.on(f"/files/{NAME}", Reply(body=WHEEL.content[:-1] + b"x"))
        with pytest.raises(TransferAborted):
            await read_all(resource)


async def test_private_host_is_reached_only_if_it_is_the_index(upstream: Upstream) -> None:
    """A component may not send this server into its own network; `url` names an exception."""
    upstream.on(f"/files/{NAME}", Reply(body=WHEEL.content))
    async with _remote(upstream) as repository:
        resource = await repository.get_resource(DEMO, NAME)
        with pytest.raises(SourceInvalid, match="private"):
            await read_all(resource)
    assert not upstream.requests


async def test_credentials_are_sent_and_never_shown(upstream: Upstream) -> None:
    """With credentials clients get files through this server."""
    upstream.on(f"/files/{NAME}", Reply(body=WHEEL.content))
    url = upstream.simple.replace("://", "://jane:secret@")
    async with _remote(upstream, url=url) as repository:
        resource = await repository.get_resource(DEMO, NAME)
        assert resource.location is None
        assert await read_all(resource) == WHEEL.content
    assert "authorization" in {name.lower() for name in upstream.requests[-1].headers}


@pytest.mark.parametrize("url", ["demo.whl", "file:///etc/passwd", "ftp://files.example/x", ""])
async def test_remote_file_with_no_http_address_is_invalid(url: str) -> None:
    """Only http(s) addresses are fetched or sent to clients."""
    async with from_simple_repository(Stub(resource=model.HttpResource(url))) as repository:
        with pytest.raises(SourceInvalid, match="address"):
            await repository.get_resource(DEMO, NAME)


async def test_component_is_composed_with_ours(tmp_path: Path) -> None:
    """Metadata is extracted from a component's wheel, and our filters hold around it."""
    source = from_simple_repository(Stub(resource=on_disk(tmp_path)))
    repository = DenyListRepository(MetadataInjectorRepository(source), denied=["other"])
    async with running(create_app(repository)) as app:
        page = (await ask(app, "/simple/demo/", headers={"Accept": JSON})).json()
        assert page["files"][0]["core-metadata"]
        answer = await ask(app, f"/resources/demo/{NAME}.metadata")
        assert (answer.status, answer.body) == (200, WHEEL.metadata)
        assert (await ask(app, f"/resources/demo/{NAME}")).body == WHEEL.content


async def test_large_pages_and_lists_are_converted() -> None:
    """Pages and lists that are converted in a thread are as complete as small ones."""
    files = [file_of(build_sdist("demo", f"{n}.0")) for n in range(1_200)]
    names = frozenset(model.ProjectListElement(f"p{n}") for n in range(1_200))
    stub = Stub(
        page=detail(*files), names=model.ProjectList(meta=model.Meta("1.0"), projects=names)
    )
    async with from_simple_repository(stub) as repository:
        page = await repository.get_project_page(DEMO)
        assert len(page.files) == len(page.versions) == 1_200
        assert await repository.get_project_page(DEMO) is page
        projects = await repository.get_project_list()
        assert len(projects.names) == 1_200
        assert await repository.get_project_list() is projects


async def test_provenance_of_an_index_reaches_clients_through_both_adapters(
    upstream: Upstream,
) -> None:
    """The address of an attestation is passed on (PEP 740), also through the library."""
    address = "https://index.example/integrity/demo/provenance"
    publish_json(upstream, [WHEEL], extra={"provenance": address})
    inner = to_simple_repository(HttpRepository(upstream.simple))
    async with running(create_app(from_simple_repository(inner, contains=[inner]))) as app:
        shown = (await ask(app, "/simple/demo/", headers={"Accept": JSON})).json()
        assert shown["files"][0]["provenance"] == address
        html = await ask(app, "/simple/demo/", headers={"Accept": "text/html"})
        assert f'data-provenance="{address}"' in html.text


def test_without_the_library_the_error_says_what_to_install() -> None:
    """The package imports without the library, and using an adapter states how to install it."""
    program = (
        "import sys; sys.modules['simple_repository'] = None\n"
        "from simple_repository_server.adapters import simple_repository as adapters\n"
        "for adapt in (adapters.from_simple_repository, adapters.to_simple_repository):\n"
        "    try:\n        adapt(None)\n"
        "    except ImportError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("pip install 'simple-repository-server[simple-repository]'") == 2


async def test_without_memory_pages_are_converted_each_time() -> None:
    """Within a budget of nothing, pages and lists are right and not remembered."""
    async with from_simple_repository(Stub(), memory_bytes=0) as repository:
        first = await repository.get_project_page(DEMO)
        second = await repository.get_project_page(DEMO)
        assert first is not second
        assert first.files == second.files
        assert (await repository.get_project_list()).names == (DEMO,)


async def test_files_of_other_credentials_have_other_cache_keys(upstream: Upstream) -> None:
    """What one user may read is not found in a cache by a component with other credentials."""
    keys = []
    for user in ("jane", "joe"):
        url = upstream.simple.replace("://", f"://{user}:secret@")
        async with _remote(upstream, url=url) as repository:
            keys.append((await repository.get_resource(DEMO, NAME)).cache_key)
    assert len(set(keys)) == 2
    assert "secret" not in str(keys)


async def test_file_that_the_component_wants_uncached_is_not_cached() -> None:
    """`to_cache=False` of the library is respected."""
    remote = model.HttpResource("https://files.example/x", to_cache=False)
    async with from_simple_repository(Stub(resource=remote)) as repository:
        assert (await repository.get_resource(DEMO, NAME)).cache_key is None


async def test_tag_of_the_component_is_the_validator_of_a_file_without_digest(
    tmp_path: Path,
) -> None:
    """A strong tag is passed to clients, a weak one is not, and such a file may change."""
    on_disk(tmp_path)
    stub = Stub(page=detail(file_of(hashes={}, size=None), version="1.0"))
    async with from_simple_repository(stub) as repository:
        for tag, expected in (('"abc"', '"abc"'), ('W/"abc"', None), ("abc", None)):
            context = model.Context(etag=tag)
            stub.resource = model.LocalResource(tmp_path / NAME, context=context)
            resource = await repository.get_resource(DEMO, NAME)
            assert (resource.etag, resource.may_change) == (expected, True)
            stub.resource = model.HttpResource("https://files.example/x", context=context)
            assert (await repository.get_resource(DEMO, NAME)).etag == expected


async def test_private_keys_replace_nothing_and_texts_are_unicode() -> None:
    """No private key stands for one of the standard, and no text makes a page unrenderable."""
    lone: Any = "\ud800"
    private: Any = {"url": "https://evil.example/", "hashes": {}, "_ok": (1, {"a": None}), 1: 2}
    private |= {"_no": object(), "_lone": lone, "_provenance": "javascript:alert(1)"}
    file = file_of(requires_python=lone, yanked=lone, private_metadata=private)
    page = detail(file, versions=frozenset(["1.0", lone]), private_metadata=private)
    names = model.ProjectList(model.Meta("1.1"), frozenset(), private_metadata=private)
    repository = from_simple_repository(Stub(page, names=names))
    async with repository:
        app = create_app(repository)
        for path in ("/simple/", "/simple/demo/"):
            assert (await ask(app, path, headers={"Accept": "text/html"})).status == 200
            answer = (await ask(app, path, headers={"Accept": JSON})).json()
            assert answer.keys() >= {"_ok"}
            assert not answer.keys() & {"url", "_no", "_lone"}
        (shown,) = answer["files"]
        assert shown["_ok"] == [1, {"a": None}]
        assert shown["url"].startswith("../")
        assert shown["hashes"] == {"sha256": WHEEL.sha256}
        assert shown["yanked"] is True
        assert not shown.keys() & {"provenance", "requires-python", "_no"}
        assert answer["versions"] == ["1.0"]
