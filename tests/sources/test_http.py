"""A remote index: its answers parsed, its pages cached, its failures reported."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import zstandard

from simple_repository_server import FileName, HttpRepository, ProjectName
from simple_repository_server.errors import (
    ProjectNotFound,
    RepositoryError,
    SourceInvalid,
    SourceTimeout,
    SourceUnavailable,
    TransferAborted,
)
from simple_repository_server.model import ProjectPage, RequestContext, Status
from simple_repository_server.observe.events import (
    EntriesDropped,
    Event,
    SourceFailed,
    SourceRecovered,
)
from simple_repository_server.resource import ByteRange
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import JSON_TYPE, publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream
from simple_repository_server.upstream.client import Limits
from tests.waiting import until_asked_again

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0")
PAGE = "/simple/foo/"
HTML = {"Content-Type": "text/html"}
QUICK = Limits(
    connect_s=0.5, idle_s=0.4, page_s=1.5, attempts=3, backoff_s=0.01, probe_first_s=0.05
)


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def _index(upstream: Upstream, **options: Any) -> AsyncIterator[HttpRepository]:
    options.setdefault("limits", QUICK)
    async with HttpRepository(upstream.simple, **options) as repository:
        yield repository


def _json(files: list[Any] | None = None, **keys: Any) -> Reply:
    default = {"filename": "foo-1.0-py3-none-any.whl", "url": "foo-1.0-py3-none-any.whl"}
    page = {"meta": {"api-version": "1.0"}, "name": "foo", "files": files or [default], **keys}
    return Reply(headers={"Content-Type": JSON_TYPE}, body=json.dumps(page).encode())


async def _ask(upstream: Upstream, reply: Reply, **options: Any) -> ProjectPage:
    upstream.on(PAGE, reply)
    async with _index(upstream, **options) as repository:
        return await repository.get_project_page(FOO)


# --- answers parsed ------------------------------------------------------------------------------


async def test_request_for_a_page(upstream: Upstream) -> None:
    """It has the normalised name, and offers three types and both codings."""
    publish_json(upstream, [WHEEL])
    async with _index(upstream) as repository:
        await repository.get_project_page(ProjectName("F_o.o".replace("_", "").replace(".", "")))
    request = upstream.requests[0]
    assert request.target == "/simple/foo/"
    assert request.headers["accept"].startswith(JSON_TYPE)
    assert "text/html" in request.headers["accept"]
    assert request.headers["accept-encoding"] == "gzip, zstd"
    assert request.headers["user-agent"].startswith("simple-repository-server/")


@pytest.mark.parametrize(
    ("coding", "coder"),
    [("gzip", gzip.compress), ("zstd", zstandard.compress), ("identity", bytes)],
)
async def test_compressed_pages_are_decoded(upstream: Upstream, coding: str, coder: Any) -> None:
    """Whichever content coding the index chose."""
    reply = _json()
    headers = {**reply.headers, "Content-Encoding": coding}
    page = await _ask(upstream, Reply(headers=headers, body=coder(reply.body)))
    assert len(page.files) == 1


async def test_links_are_resolved_after_redirects(upstream: Upstream) -> None:
    """Relative links are relative to the final address, or to the page's `<base>`."""
    upstream.on(PAGE, Reply(status=302, headers={"Location": "/moved/deep/foo/"}))
    upstream.on("/moved/deep/foo/", Reply(headers=HTML, body=b'<a href="../foo-1.0.tar.gz">x</a>'))
    async with _index(upstream) as repository:
        page = await repository.get_project_page(FOO)
    assert page.files[0].url == f"{upstream.url}/moved/deep/foo-1.0.tar.gz"
    based = b'<base href="https://cdn.example/a/"><a href="../foo-1.0.tar.gz">x</a>'
    page = await _ask(upstream, Reply(headers=HTML, body=based))
    assert page.files[0].url == "https://cdn.example/foo-1.0.tar.gz"


async def test_file_urls_are_sent_unchanged(upstream: Upstream) -> None:
    """Signatures, `%2B` and `@` arrive at the origin as they stand on the page."""
    target = "/f/%2Bx@v1/foo-1.0%2Bcu-py3-none-any.whl?sig=a%2Fb%3D&e=1"
    anchor = f'<a href="{target}#sha256={WHEEL.sha256}">foo</a>'.replace("&", "&amp;")
    upstream.on(PAGE, Reply(headers=HTML, body=anchor.encode()))
    upstream.on(target, Reply(body=WHEEL.content))
    async with _index(upstream) as repository:
        page = await repository.get_project_page(FOO)
        assert page.files[0].filename == "foo-1.0+cu-py3-none-any.whl"
        resource = await repository.get_resource(FOO, page.files[0].filename)
        async with resource.open() as body:
            assert b"".join([c async for c in body.chunks]) == WHEEL.content
    assert upstream.seen(target)


async def test_invalid_entries_are_dropped_and_reported_once(upstream: Upstream) -> None:
    """Bad names, missing sizes, nulls and duplicates affect their own entry at most."""
    events: list[Event] = []
    page = await _ask(
        upstream,
        _json(
            [
                {"filename": "foo-1.0.tar.gz", "url": "a", "size": None, "upload-time": None,
                 "yanked": None, "hashes": {"sha256": None}, "requires-python": None},
                {"filename": "../evil-1.0.tar.gz", "url": "b"},
                {"filename": "foo-1.1.tar.gz", "url": "ftp://x.example/y"},
                {"filename": "foo-1.2.tar.gz", "url": 7},
                {"url": "nameless"},
                "not even an object",
                {"filename": "foo-1.0.tar.gz", "url": "again"},
                {"filename": "foo-2.0.tar.gz", "url": "c", "upload-time": "2024-01-17T16:53:12.7Z"},
            ],
            **{"project-status": None},
        ),
        emit=events.append,
    )  # fmt: skip
    assert [file.filename for file in page.files] == ["foo-1.0.tar.gz", "foo-2.0.tar.gz"]
    assert page.files[0].hashes == {}
    assert page.files[0].yanked is False
    assert page.files[1].upload_time is not None
    dropped = [event for event in events if isinstance(event, EntriesDropped)]
    assert [event.count for event in dropped] == [6]


@pytest.mark.parametrize("size", ["9" * 19, "9" * 25, "9" * 5000])
@pytest.mark.parametrize("form", ["html", "json"])
async def test_impossible_size_is_ignored(upstream: Upstream, size: str, form: str) -> None:
    """A size that clients (or Python) refuse to parse is left out; the page is served."""
    name = "foo-1.0.tar.gz"
    if form == "html":
        reply = Reply(headers=HTML, body=f'<a href="{name}" data-size="{size}">x</a>'.encode())
    else:
        files = [{"filename": name, "url": name, "size": int(size[:25])}]
        reply = _json(files)
    assert [(f.filename, f.size) for f in (await _ask(upstream, reply)).files] == [(name, None)]


@pytest.mark.parametrize("charset", ["idna", "undefined", "unicode_escape", "zlib", "nonsense"])
async def test_unknown_charset_is_read_as_utf_8(upstream: Upstream, charset: str) -> None:
    """Codecs of Python that are no charset of pages are not used either."""
    body = b'<a href="foo-1.0.tar.gz">foo-1.0.tar.gz</a>'
    headers = {"Content-Type": f"text/html; charset={charset}"}
    page = await _ask(upstream, Reply(headers=headers, body=body))
    assert [file.filename for file in page.files] == ["foo-1.0.tar.gz"]


async def test_quarantined_project_offers_no_files(upstream: Upstream) -> None:
    """It retains its status; direct requests for its files fail, too."""
    status = {"status": "quarantined", "reason": "malware <b>"}
    upstream.on(PAGE, _json(None, **{"project-status": status}))
    async with _index(upstream) as repository:
        page = await repository.get_project_page(FOO)
        assert page.status is not None
        assert (page.status.status, page.status.reason) == (Status.QUARANTINED, "malware <b>")
        assert page.files == ()
        with pytest.raises(RepositoryError):
            await repository.get_resource(FOO, FileName("foo-1.0-py3-none-any.whl"))


async def test_page_of_another_project_is_refused(upstream: Upstream) -> None:
    """A page with another project's name is an invalid answer."""
    with pytest.raises(SourceInvalid, match="'bar'"):
        await _ask(upstream, _json(name="bar"))


async def test_older_keys_for_metadata_are_read(upstream: Upstream) -> None:
    """`dist-info-metadata` and its misspelling count where `core-metadata` is missing."""
    digest = {"sha256": "ab" * 32}
    entry = {"filename": "foo-1.0-py3-none-any.whl", "url": "x"}
    for key in ("dist-info-metadata", "data-dist-info-metadata", "core-metadata"):
        page = await _ask(upstream, _json([{**entry, key: digest}]))
        assert page.files[0].core_metadata == digest
    anchor = b'<a href="foo-1.0-py3-none-any.whl" data-dist-info-metadata="sha256=%b">x</a>'
    html = Reply(headers=HTML, body=anchor % (b"ab" * 32))
    assert (await _ask(upstream, html)).files[0].core_metadata == digest


async def test_directory_listing_is_read_as_an_index(upstream: Upstream) -> None:
    """Links that are not distribution files are ignored."""
    listing = (
        b'<html><h1>Index of /foo</h1><a href="../">../</a><a href="?C=N;O=D">Name</a>'
        b'<a href="foo-1.0.tar.gz">foo-1.0.tar.gz</a> 17-Jan-2024 16:53 1337</html>'
    )
    page = await _ask(upstream, Reply(headers=HTML, body=listing))
    assert [file.filename for file in page.files] == ["foo-1.0.tar.gz"]
    assert page.versions == ("1.0",)


# --- requests upstream ---------------------------------------------------------------------------


async def test_fresh_page_costs_no_request(upstream: Upstream) -> None:
    """Within its lifetime a page and its files cost one request, and are the same object."""
    publish_json(upstream, [WHEEL], max_age=100)
    clock = Clock()
    async with _index(upstream, clock=clock) as repository:
        page = await repository.get_project_page(FOO)
        clock.now += 99
        assert await repository.get_project_page(FOO) is page
        await repository.get_resource(FOO, page.files[0].filename)
    assert len(upstream.requests) == 1


async def test_page_with_max_age_0_is_revalidated_once_per_request(upstream: Upstream) -> None:
    """Once each time, and not more often."""
    publish_json(upstream, [WHEEL], max_age=0)
    async with _index(upstream) as repository:
        for count in (1, 2, 3):
            await repository.get_project_page(FOO)
            assert len(upstream.requests) == count


async def test_expired_page_is_revalidated_once_for_concurrent_clients(upstream: Upstream) -> None:
    """One conditional request; after a 304 the page is the same object."""
    publish_json(upstream, [WHEEL], max_age=100)
    clock = Clock()
    async with _index(upstream, clock=clock) as repository:
        page = await repository.get_project_page(FOO)
        clock.now += 101
        again = await asyncio.gather(*(repository.get_project_page(FOO) for _ in range(100)))
        assert all(one is page for one in again)
        assert len(upstream.requests) == 2
        assert upstream.requests[1].headers["if-none-match"]
        clock.now += 99
        await repository.get_project_page(FOO)
        assert len(upstream.requests) == 2
        assert page.freshness.at(clock.now) == (100, 99, None)


async def test_unchanged_body_is_the_same_snapshot(upstream: Upstream) -> None:
    """An index without validators that sends the same bytes again has not changed its page."""
    upstream.on(PAGE, _json())
    clock = Clock()
    async with _index(upstream, clock=clock) as repository:
        page = await repository.get_project_page(FOO)
        clock.now += 1000
        assert await repository.get_project_page(FOO) is page
        upstream.on(PAGE, _json(versions=["1.0", "2.0"]))
        clock.now += 1000
        assert await repository.get_project_page(FOO) is not page


async def test_no_cache_revalidates_at_most_once_a_second(upstream: Upstream) -> None:
    """A page that was validated within the last second is not requested again."""
    publish_json(upstream, [WHEEL], max_age=600)
    clock = Clock()
    fresh = RequestContext(revalidate=True)
    async with _index(upstream, clock=clock) as repository:
        for _ in range(3):
            await repository.get_project_page(FOO, context=fresh)
        assert len(upstream.requests) == 1
        clock.now += 2
        await repository.get_project_page(FOO, context=fresh)
        assert len(upstream.requests) == 2


async def test_negative_entry_spares_requests_for_its_ttl(upstream: Upstream) -> None:
    """A missing project is requested again after it, not each time."""
    clock = Clock()
    async with _index(upstream, clock=clock) as repository:
        for _ in range(3):
            with pytest.raises(ProjectNotFound):
                await repository.get_project_page(FOO)
        assert len(upstream.requests) == 1
        publish_json(upstream, [WHEEL])
        clock.now += 61
        assert (await repository.get_project_page(FOO)).files


async def test_list_is_cached_like_a_page(upstream: Upstream) -> None:
    """It is requested once within its lifetime, from JSON as from HTML."""
    for publish in (publish_json, publish_html):
        upstream.forget()
        publish(upstream, [WHEEL, build_wheel("Bar")])
        async with _index(upstream) as repository:
            projects = await repository.get_project_list()
            assert projects.names == ("bar", "foo")
            assert await repository.get_project_list() is projects
        assert len(upstream.requests) == 1


async def test_cached_pages_stay_within_the_memory_budget(upstream: Upstream) -> None:
    """However many pages are requested."""
    names = [f"p{number}" for number in range(60)]
    publish_json(upstream, [build_wheel(name) for name in names], max_age=600)
    async with _index(upstream, memory_bytes=50_000) as repository:
        for name in names:
            await repository.get_project_page(ProjectName(name))
        upstream.forget()
        await repository.get_project_page(ProjectName(names[-1]))
        assert upstream.requests == []
        await repository.get_project_page(ProjectName(names[0]))
        assert len(upstream.requests) == 1


# --- when it misbehaves --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(status=401), SourceUnavailable),
        (Reply(status=403), SourceUnavailable),
        (Reply(status=500), SourceUnavailable),
        (Reply(status=503), SourceUnavailable),
        (Reply(status=429, headers={"Retry-After": "3600"}), SourceUnavailable),
        (Reply(status=400), SourceInvalid),
        (Reply(status=304), SourceInvalid),
        (Reply(reset=True), SourceUnavailable),
        (Reply(hang_up=True), SourceUnavailable),
        (Reply(delay_s=5), SourceTimeout),
        (Reply(headers=HTML, body=b"x" * 1000, piece=10, piece_delay_s=0.1), SourceTimeout),
        (Reply(raw=b"SSH-2.0-OpenSSH_9.2\r\n"), SourceInvalid),
        (Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n"), SourceInvalid),
        (Reply(headers={"Content-Type": "image/png"}, body=b"x"), SourceInvalid),
        (Reply(body=b"no content type"), SourceInvalid),
        (Reply(headers={"Content-Type": JSON_TYPE}, body=b"{"), SourceInvalid),
        (Reply(headers={"Content-Type": JSON_TYPE}, body=b"[]"), SourceInvalid),
        (Reply(headers={"Content-Type": JSON_TYPE}, body=b"\xff\xfe"), SourceInvalid),
        (Reply(headers={**HTML, "Content-Encoding": "gzip"}, body=b"no gzip"), SourceInvalid),
        (Reply(headers={**HTML, "Content-Encoding": "br"}, body=b"x"), SourceInvalid),
        (Reply(headers=HTML, body=b"<a>" * 999, stop_after=100), SourceUnavailable),
        (Reply(headers=HTML, body=b"<a>" * 999, stop_after=100, length=-1), SourceUnavailable),
        (Reply(status=302, headers={"Location": PAGE}), SourceInvalid),
        (Reply(status=302, headers={"Location": "file:///etc/passwd"}), SourceInvalid),
        (Reply(status=302, headers={"Location": "http://[broken/"}), SourceInvalid),
        (Reply(headers={"Content-Type": JSON_TYPE},
               body=b'{"meta":{"api-version":"2.0"},"files":[]}'), SourceInvalid),
        (Reply(headers=HTML, body=b'<meta name="pypi:repository-version" content="2.0">'),
         SourceInvalid),
    ],
)  # fmt: skip
async def test_failure_names_the_source_and_is_never_absence(
    upstream: Upstream, reply: Reply, kind: type[Exception]
) -> None:
    """Whatever goes wrong, the project is not reported as missing."""
    with pytest.raises(SourceUnavailable) as caught:
        await _ask(upstream, reply)
    assert type(caught.value) is kind
    assert upstream.simple in str(caught.value)


@pytest.mark.parametrize("status", [404, 410])
async def test_only_404_and_410_mean_absent(upstream: Upstream, status: int) -> None:
    """Of all statuses these two mean that there is no such project."""
    with pytest.raises(ProjectNotFound):
        await _ask(upstream, Reply(status=status))


async def test_403_means_absent_if_so_configured(upstream: Upstream) -> None:
    """`forbidden_means_absent` is for indexes that answer 403 for missing projects."""
    with pytest.raises(ProjectNotFound):
        await _ask(upstream, Reply(status=403), forbidden_means_absent=True)


async def test_page_larger_than_the_limit_is_refused(upstream: Upstream) -> None:
    """It is not read to its end, compressed or not."""
    limits = Limits(page_bytes=100_000)
    big = Reply(headers=HTML, body=b"x" * 5_000_000, piece=100_000, piece_delay_s=0.01)
    with pytest.raises(SourceInvalid, match="more than"):
        await _ask(upstream, big, limits=limits)
    assert upstream.sent < 4_000_000
    bomb = Reply(
        headers={**HTML, "Content-Encoding": "gzip"}, body=gzip.compress(b"\0" * 9_000_000)
    )
    with pytest.raises(SourceInvalid, match="larger than"):
        await _ask(upstream, bomb, limits=limits)


async def test_transient_failures_are_retried(upstream: Upstream) -> None:
    """Two failures and a success are a success: resets, 5xx and short 429s."""
    failing = [
        Reply(reset=True),
        Reply(status=502),
        Reply(status=429, headers={"Retry-After": "0"}),
    ]
    for first, second in zip(failing, failing[1:] + failing[:1], strict=True):
        upstream.on(PAGE, [first, second, _json()])
        async with _index(upstream) as repository:
            assert (await repository.get_project_page(FOO)).files


async def test_406_is_retried_with_a_plain_accept_header(upstream: Upstream) -> None:
    """For an index that cannot parse ours."""

    def fussy(request: Request) -> Reply:
        return _json() if request.headers["accept"] == "*/*" else Reply(status=406)

    upstream.on(PAGE, fussy)
    async with _index(upstream) as repository:
        assert (await repository.get_project_page(FOO)).files


async def test_stale_page_is_served_while_the_index_is_down(upstream: Upstream) -> None:
    """With its age and the reason; it is revalidated when the index is back."""
    publish_json(upstream, [WHEEL], max_age=60)
    clock, events = Clock(), list[Event]()
    async with _index(upstream, clock=clock, emit=events.append) as repository:
        page = await repository.get_project_page(FOO)
        upstream.refuse()
        clock.now += 3600
        assert await repository.get_project_page(FOO) is page
        _, age, warning = page.freshness.at(clock.now)
        assert age == 3600
        assert upstream.simple in (warning or "")
        assert repository.source_states()[0].available is False
        upstream.refuse(refusing=False)
        await until_asked_again(repository)
        clock.now += 10
        assert await repository.get_project_page(FOO) is page
        assert page.freshness.at(clock.now)[2] is None
        assert repository.source_states()[0].available is True
        clock.now += 8 * 24 * 3600
        upstream.refuse()
        with pytest.raises(SourceUnavailable):
            await repository.get_project_page(FOO)
    kinds = [type(event) for event in events]
    assert kinds == [SourceFailed, SourceRecovered, SourceFailed]


async def test_removed_project_is_not_served_stale(upstream: Upstream) -> None:
    """404 after 200 is 404."""
    publish_json(upstream, [WHEEL], max_age=60)
    clock = Clock()
    async with _index(upstream, clock=clock) as repository:
        await repository.get_project_page(FOO)
        upstream.on(PAGE, Reply(status=404))
        clock.now += 61
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)


async def test_unopened_repository_explains_how_to_open_it(upstream: Upstream) -> None:
    """A repository that was not entered raises an error with the remedy."""
    with pytest.raises(RepositoryError, match="async with"):
        await HttpRepository(upstream.simple).get_project_page(FOO)


# --- credentials ---------------------------------------------------------------------------------


def _protected(reply: Reply) -> Any:
    def script(request: Request) -> Reply:
        return reply if "authorization" in request.headers else Reply(status=401)

    return script


async def test_credentials_stay_at_their_origin(upstream: Upstream) -> None:
    """They reach the source's own origin, not the one it redirects to or has its files at."""
    with Upstream() as elsewhere:
        file = f"{elsewhere.url}/foo-1.0-py3-none-any.whl"
        elsewhere.on("/foo-1.0-py3-none-any.whl", Reply(body=WHEEL.content))
        elsewhere.on("/moved/", _json([{"filename": WHEEL.filename, "url": file}]))
        upstream.on(
            PAGE, _protected(Reply(status=302, headers={"Location": f"{elsewhere.url}/moved/"}))
        )
        url = upstream.simple.replace("//", "//me:secret@")
        async with HttpRepository(url, limits=QUICK) as repository:
            page = await repository.get_project_page(FOO)
            resource = await repository.get_resource(FOO, page.files[0].filename)
            assert resource.location is None, "a file of a private index is not redirected"
            async with resource.open() as body:
                assert [c async for c in body.chunks]
        assert "secret" not in repository.label
        assert "authorization" in upstream.requests[0].headers
        assert all("authorization" not in request.headers for request in elsewhere.requests)
        assert len(elsewhere.requests) == 2


async def test_credentials_in_a_redirect_are_sent_to_its_target_only(upstream: Upstream) -> None:
    """`user:password@` in a Location appears nowhere else."""
    with Upstream() as elsewhere:
        elsewhere.on("/x/", _protected(_json()))
        location = elsewhere.url.replace("//", "//hop:word@") + "/x/"
        upstream.on(PAGE, Reply(status=302, headers={"Location": location}))
        async with _index(upstream) as repository:
            page = await repository.get_project_page(FOO)
        assert page.files[0].url.startswith(elsewhere.url)


async def test_errors_contain_no_credentials(upstream: Upstream) -> None:
    """Neither user nor password is in the error of a source that refuses them."""
    upstream.on(PAGE, Reply(status=401))
    url = upstream.simple.replace("//", "//alice:secret@")
    async with HttpRepository(url, limits=QUICK) as repository:
        with pytest.raises(SourceUnavailable) as caught:
            await repository.get_project_page(FOO)
    assert "secret" not in str(caught.value)
    assert "alice" not in str(caught.value)


# --- files ---------------------------------------------------------------------------------------


async def _download(repository: HttpRepository, byte_range: ByteRange | None = None) -> bytes:
    page = await repository.get_project_page(FOO)
    resource = await repository.get_resource(FOO, page.files[0].filename)
    async with resource.open(byte_range) as body:
        return b"".join([chunk async for chunk in body.chunks])


def _file(upstream: Upstream) -> str:
    return f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=WHEEL.content[:-1] + b"x"),
        Reply(body=WHEEL.content, stop_after=100),
        Reply(body=WHEEL.content, stop_after=100, length=-1),
        Reply(body=WHEEL.content + b"more", length=-1),
        Reply(body=b"<html>503</html>", length=-1),
    ],
)
async def test_file_that_fails_its_check_is_never_completed(
    upstream: Upstream, reply: Reply
) -> None:
    """The end of a changed, truncated or too long file is withheld."""
    publish_json(upstream, [WHEEL])
    upstream.on(_file(upstream), reply)
    received = b""
    async with _index(upstream) as repository:
        page = await repository.get_project_page(FOO)
        resource = await repository.get_resource(FOO, page.files[0].filename)
        async with resource.open() as body:
            with pytest.raises(TransferAborted):
                async for chunk in body.chunks:
                    received += chunk
    assert len(received) < len(WHEEL.content)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(body=WHEEL.content + b"more"), SourceInvalid),
        (Reply(status=503, body=b"down"), SourceUnavailable),
        (Reply(status=403), SourceUnavailable),
        (Reply(status=206, body=b"x", headers={"Content-Range": "bytes 0-0/9"}), SourceInvalid),
        (Reply(reset=True), SourceUnavailable),
        (Reply(status=404), RepositoryError),
    ],
)
async def test_failure_before_the_first_byte_is_an_error(
    upstream: Upstream, reply: Reply, kind: type[Exception]
) -> None:
    """It is raised on opening, not as a body that breaks off."""
    publish_json(upstream, [WHEEL])
    upstream.on(_file(upstream), reply)
    async with _index(upstream) as repository:
        with pytest.raises(kind):
            await _download(repository)


async def test_content_range_beyond_any_file_is_refused(upstream: Upstream) -> None:
    """It is the source's invalid answer, not a defect of ours."""
    publish_json(upstream, [WHEEL])
    absurd = {"Content-Range": f"bytes 5-49/{'9' * 5000}"}
    upstream.on(_file(upstream), Reply(status=206, body=b"x" * 45, headers=absurd))
    async with _index(upstream) as repository:
        with pytest.raises(SourceInvalid):
            await _download(repository, ByteRange(5, 50))


@pytest.mark.parametrize("user", ["", "alice:secret@"])
async def test_file_url_with_an_impossible_port_is_dropped(upstream: Upstream, user: str) -> None:
    """The other files of the page are served."""
    url = "http://127.0.0.1:99999/foo-1.0.tar.gz"
    other = {"filename": "foo-2.0.tar.gz", "url": "http://127.0.0.1:9999/foo-2.0.tar.gz"}
    upstream.on(PAGE, _json([{"filename": "foo-1.0.tar.gz", "url": url}, other]))
    source = upstream.simple.replace("//", f"//{user}")
    async with HttpRepository(source, limits=QUICK) as repository:
        page = await repository.get_project_page(FOO)
    assert [file.filename for file in page.files] == ["foo-2.0.tar.gz"]


@pytest.mark.parametrize("ranges", [True, False])
async def test_content_length_0_of_a_head_response_is_not_a_size(
    upstream: Upstream, ranges: bool
) -> None:
    """The file is requested with GET, and not taken as empty."""
    publish_html(upstream, [WHEEL])
    whole = Reply(body=WHEEL.content, ranges=ranges)
    upstream.on(_file(upstream), lambda request: Reply() if request.method == "HEAD" else whole)
    async with _index(upstream) as repository:
        page = await repository.get_project_page(FOO)
        resource = await repository.get_resource(FOO, page.files[0].filename)
        assert (await resource.with_size()).size == len(WHEEL.content)


@pytest.mark.parametrize("ranges", [True, False])
async def test_byte_ranges_of_files(upstream: Upstream, ranges: bool) -> None:
    """A range is that range, whether the index supports ranges or sends the whole file."""
    publish_html(upstream, [WHEEL], ranges=ranges)
    async with _index(upstream) as repository:
        assert await _download(repository, ByteRange(5, 50)) == WHEEL.content[5:50]


async def test_another_range_than_requested_is_refused(upstream: Upstream) -> None:
    """A 206 must match the request."""
    publish_json(upstream, [WHEEL])
    wrong = Reply(status=206, body=b"x" * 45, headers={"Content-Range": "bytes 6-50/999"})
    upstream.on(_file(upstream), wrong)
    async with _index(upstream) as repository:
        with pytest.raises(SourceInvalid, match="another part"):
            await _download(repository, ByteRange(5, 50))


async def test_clock_set_back_does_not_extend_the_pause_after_a_failure(upstream: Upstream) -> None:
    """The index is requested again though its failure is in the future."""
    publish_json(upstream, [build_wheel("foo", "1.0")])
    clock = Clock()
    async with _index(upstream, clock=clock) as repository:
        page = await repository.get_project_page(FOO)
        clock.now += 61
        upstream.on(PAGE, Reply(status=500))
        await repository.get_project_page(FOO)
        assert page.freshness.stale_reason
        clock.now -= 24 * 3600
        publish_json(upstream, [build_wheel("foo", "1.0")])
        assert repository.peek_project_page(FOO) is None
        assert await repository.get_project_page(FOO) is page
        assert page.freshness.stale_reason is None


async def test_no_cache_retries_a_failed_index_after_a_second(upstream: Upstream) -> None:
    """Other requests are served stale for five seconds."""
    publish_json(upstream, [build_wheel("foo", "1.0")])
    clock, confirmed = Clock(), RequestContext(revalidate=True)
    async with _index(upstream, clock=clock) as repository:
        page = await repository.get_project_page(FOO)
        clock.now += 61
        upstream.on(PAGE, Reply(status=500))
        await repository.get_project_page(FOO)
        sent = len(upstream.seen(PAGE))
        await repository.get_project_page(FOO, context=confirmed)
        assert len(upstream.seen(PAGE)) == sent, "within the second"
        clock.now += 2
        await repository.get_project_page(FOO)
        assert len(upstream.seen(PAGE)) == sent
        publish_json(upstream, [build_wheel("foo", "1.0")])
        assert await repository.get_project_page(FOO, context=confirmed) is page
        assert page.freshness.stale_reason is None
