"""A remote index: what it says, how often it is asked, and what happens when it misbehaves."""

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


# --- what it says --------------------------------------------------------------------------------


async def test_what_is_asked(upstream: Upstream) -> None:
    """The normalised name is asked for, with all three types and both codings on offer."""
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
async def test_coded_pages(upstream: Upstream, coding: str, coder: Any) -> None:
    """Pages are decoded, whichever of the codings the index chose."""
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


async def test_file_addresses_are_opaque(upstream: Upstream) -> None:
    """Signatures, `%2B` and `@` arrive at the origin as they were written on the page."""
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


async def test_one_odd_entry_does_not_cost_the_page(upstream: Upstream) -> None:
    """Bad names, missing sizes, nulls, duplicates cost at most their entry, and are told once."""
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
async def test_a_size_no_file_has_is_none(upstream: Upstream, size: str, form: str) -> None:
    """A size that clients (or Python) refuse to read is left out; the page is served."""
    name = "foo-1.0.tar.gz"
    if form == "html":
        reply = Reply(headers=HTML, body=f'<a href="{name}" data-size="{size}">x</a>'.encode())
    else:
        files = [{"filename": name, "url": name, "size": int(size[:25])}]
        reply = _json(files)
    assert [(f.filename, f.size) for f in (await _ask(upstream, reply)).files] == [(name, None)]


@pytest.mark.parametrize("charset", ["idna", "undefined", "unicode_escape", "zlib", "nonsense"])
async def test_an_odd_charset_does_not_cost_the_page(upstream: Upstream, charset: str) -> None:
    """What is no charset of pages is taken as UTF-8."""
    body = b'<a href="foo-1.0.tar.gz">foo-1.0.tar.gz</a>'
    headers = {"Content-Type": f"text/html; charset={charset}"}
    page = await _ask(upstream, Reply(headers=headers, body=body))
    assert [file.filename for file in page.files] == ["foo-1.0.tar.gz"]


async def test_quarantine_takes_the_files_away(upstream: Upstream) -> None:
    """A quarantined project keeps its status and offers nothing, direct addresses included."""
    status = {"status": "quarantined", "reason": "malware <b>"}
    upstream.on(PAGE, _json(None, **{"project-status": status}))
    async with _index(upstream) as repository:
        page = await repository.get_project_page(FOO)
        assert page.status is not None
        assert (page.status.status, page.status.reason) == (Status.QUARANTINED, "malware <b>")
        assert page.files == ()
        with pytest.raises(RepositoryError):
            await repository.get_resource(FOO, FileName("foo-1.0-py3-none-any.whl"))


async def test_names_of_another_project_are_refused(upstream: Upstream) -> None:
    """A page that says it is another project's is not taken for ours."""
    with pytest.raises(SourceInvalid, match="'bar'"):
        await _ask(upstream, _json(name="bar"))


async def test_the_old_names_of_metadata_are_understood(upstream: Upstream) -> None:
    """`dist-info-metadata` and its misspelling count where `core-metadata` is missing."""
    digest = {"sha256": "ab" * 32}
    entry = {"filename": "foo-1.0-py3-none-any.whl", "url": "x"}
    for key in ("dist-info-metadata", "data-dist-info-metadata", "core-metadata"):
        page = await _ask(upstream, _json([{**entry, key: digest}]))
        assert page.files[0].core_metadata == digest
    anchor = b'<a href="foo-1.0-py3-none-any.whl" data-dist-info-metadata="sha256=%b">x</a>'
    html = Reply(headers=HTML, body=anchor % (b"ab" * 32))
    assert (await _ask(upstream, html)).files[0].core_metadata == digest


async def test_directory_listings_are_understood(upstream: Upstream) -> None:
    """What a web server lists of a folder is an index too; links that are no files are not."""
    listing = (
        b'<html><h1>Index of /foo</h1><a href="../">../</a><a href="?C=N;O=D">Name</a>'
        b'<a href="foo-1.0.tar.gz">foo-1.0.tar.gz</a> 17-Jan-2024 16:53 1337</html>'
    )
    page = await _ask(upstream, Reply(headers=HTML, body=listing))
    assert [file.filename for file in page.files] == ["foo-1.0.tar.gz"]
    assert page.versions == ("1.0",)


# --- how often it is asked -----------------------------------------------------------------------


async def test_a_fresh_page_is_not_asked_for_again(upstream: Upstream) -> None:
    """Within its lifetime a page and its files cost one request, and are the same object."""
    publish_json(upstream, [WHEEL], max_age=100)
    clock = Clock()
    async with _index(upstream, clock=clock) as repository:
        page = await repository.get_project_page(FOO)
        clock.now += 99
        assert await repository.get_project_page(FOO) is page
        await repository.get_resource(FOO, page.files[0].filename)
    assert len(upstream.requests) == 1


async def test_a_page_that_is_never_fresh_is_asked_for_once_a_request(upstream: Upstream) -> None:
    """An index that wants each page confirmed each time is asked once each time, and no more."""
    publish_json(upstream, [WHEEL], max_age=0)
    async with _index(upstream) as repository:
        for count in (1, 2, 3):
            await repository.get_project_page(FOO)
            assert len(upstream.requests) == count


async def test_a_stale_page_is_confirmed_once_for_all(upstream: Upstream) -> None:
    """However many clients wait, one conditional request; confirmed, it is the same object."""
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


async def test_an_unchanged_body_is_the_same_page(upstream: Upstream) -> None:
    """An index without validators that sends the same again has not changed its page."""
    upstream.on(PAGE, _json())
    clock = Clock()
    async with _index(upstream, clock=clock) as repository:
        page = await repository.get_project_page(FOO)
        clock.now += 1000
        assert await repository.get_project_page(FOO) is page
        upstream.on(PAGE, _json(versions=["1.0", "2.0"]))
        clock.now += 1000
        assert await repository.get_project_page(FOO) is not page


async def test_a_client_can_ask_for_a_fresh_answer(upstream: Upstream) -> None:
    """`no-cache` confirms a page that is older than a second, and no more often than that."""
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


async def test_absence_is_remembered_briefly(upstream: Upstream) -> None:
    """A project that is not there is asked for again soon, not each time."""
    clock = Clock()
    async with _index(upstream, clock=clock) as repository:
        for _ in range(3):
            with pytest.raises(ProjectNotFound):
                await repository.get_project_page(FOO)
        assert len(upstream.requests) == 1
        publish_json(upstream, [WHEEL])
        clock.now += 61
        assert (await repository.get_project_page(FOO)).files


async def test_the_list_is_kept_like_a_page(upstream: Upstream) -> None:
    """The list is asked for once within its lifetime, from JSON as from HTML."""
    for publish in (publish_json, publish_html):
        upstream.forget()
        publish(upstream, [WHEEL, build_wheel("Bar")])
        async with _index(upstream) as repository:
            projects = await repository.get_project_list()
            assert projects.names == ("bar", "foo")
            assert await repository.get_project_list() is projects
        assert len(upstream.requests) == 1


async def test_memory_is_bounded(upstream: Upstream) -> None:
    """However many pages are visited, those kept stay within the budget."""
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
async def test_trouble_is_named_and_never_absence(
    upstream: Upstream, reply: Reply, kind: type[Exception]
) -> None:
    """Whatever goes wrong is an error that names the source, and never "not there"."""
    with pytest.raises(SourceUnavailable) as caught:
        await _ask(upstream, reply)
    assert type(caught.value) is kind
    assert upstream.simple in str(caught.value)


@pytest.mark.parametrize("status", [404, 410])
async def test_only_404_and_410_mean_absence(upstream: Upstream, status: int) -> None:
    """These two statuses, and no others, say that there is no such project."""
    with pytest.raises(ProjectNotFound):
        await _ask(upstream, Reply(status=status))


async def test_forbidden_can_mean_absence(upstream: Upstream) -> None:
    """With the switch for such indexes, 403 says that there is no such project."""
    with pytest.raises(ProjectNotFound):
        await _ask(upstream, Reply(status=403), forbidden_means_absent=True)


async def test_a_page_beyond_the_limit_is_refused(upstream: Upstream) -> None:
    """A page larger than the limit is not read to its end, coded or not."""
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


async def test_a_passing_failure_is_tried_again(upstream: Upstream) -> None:
    """Two failures and a success are a success: resets, 5xx and short 429s are tried again."""
    failing = [
        Reply(reset=True),
        Reply(status=502),
        Reply(status=429, headers={"Retry-After": "0"}),
    ]
    for first, second in zip(failing, failing[1:] + failing[:1], strict=True):
        upstream.on(PAGE, [first, second, _json()])
        async with _index(upstream) as repository:
            assert (await repository.get_project_page(FOO)).files


async def test_a_plain_accept_is_tried_after_406(upstream: Upstream) -> None:
    """An index that cannot cope with our `Accept` gets a plain one."""

    def fussy(request: Request) -> Reply:
        return _json() if request.headers["accept"] == "*/*" else Reply(status=406)

    upstream.on(PAGE, fussy)
    async with _index(upstream) as repository:
        assert (await repository.get_project_page(FOO)).files


async def test_a_stale_page_is_served_when_the_index_is_down(upstream: Upstream) -> None:
    """What was seen is served on, marked with its age and the reason, and confirmed later."""
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


async def test_a_project_that_disappears_is_gone(upstream: Upstream) -> None:
    """404 after 200 is 404: a removed project is not served on."""
    publish_json(upstream, [WHEEL], max_age=60)
    clock = Clock()
    async with _index(upstream, clock=clock) as repository:
        await repository.get_project_page(FOO)
        upstream.on(PAGE, Reply(status=404))
        clock.now += 61
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)


async def test_used_without_opening_it_says_so(upstream: Upstream) -> None:
    """A repository that was not entered explains what to do."""
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


async def test_credentials_in_a_redirect_are_for_that_hop(upstream: Upstream) -> None:
    """`user:password@` in a Location is sent there, and shows nowhere."""
    with Upstream() as elsewhere:
        elsewhere.on("/x/", _protected(_json()))
        location = elsewhere.url.replace("//", "//hop:word@") + "/x/"
        upstream.on(PAGE, Reply(status=302, headers={"Location": location}))
        async with _index(upstream) as repository:
            page = await repository.get_project_page(FOO)
        assert page.files[0].url.startswith(elsewhere.url)


async def test_errors_hold_no_credentials(upstream: Upstream) -> None:
    """Neither user nor password is in an error of a source that refuses them."""
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
async def test_a_wrong_file_is_never_completed(upstream: Upstream, reply: Reply) -> None:
    """Of a file that is changed, cut, too long or something else the end is never handed out."""
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
async def test_a_file_that_cannot_be_had_fails_early(
    upstream: Upstream, reply: Reply, kind: type[Exception]
) -> None:
    """What shows before the first byte is an error of its own, no broken body."""
    publish_json(upstream, [WHEEL])
    upstream.on(_file(upstream), reply)
    async with _index(upstream) as repository:
        with pytest.raises(kind):
            await _download(repository)


async def test_a_range_of_absurd_numbers_is_refused(upstream: Upstream) -> None:
    """A part of a file with more bytes than there can be is nonsense, no mistake of ours."""
    publish_json(upstream, [WHEEL])
    absurd = {"Content-Range": f"bytes 5-49/{'9' * 5000}"}
    upstream.on(_file(upstream), Reply(status=206, body=b"x" * 45, headers=absurd))
    async with _index(upstream) as repository:
        with pytest.raises(SourceInvalid):
            await _download(repository, ByteRange(5, 50))


@pytest.mark.parametrize("user", ["", "alice:secret@"])
async def test_an_address_without_a_possible_port_is_left_out(
    upstream: Upstream, user: str
) -> None:
    """A file at a port that does not exist cannot be had, so it is not shown; others are."""
    url = "http://127.0.0.1:99999/foo-1.0.tar.gz"
    other = {"filename": "foo-2.0.tar.gz", "url": "http://127.0.0.1:9999/foo-2.0.tar.gz"}
    upstream.on(PAGE, _json([{"filename": "foo-1.0.tar.gz", "url": url}, other]))
    source = upstream.simple.replace("//", f"//{user}")
    async with HttpRepository(source, limits=QUICK) as repository:
        page = await repository.get_project_page(FOO)
    assert [file.filename for file in page.files] == ["foo-2.0.tar.gz"]


@pytest.mark.parametrize("ranges", [True, False])
async def test_an_empty_answer_to_head_is_no_size(upstream: Upstream, ranges: bool) -> None:
    """An index that says 0 to every HEAD is asked with GET: its files are not taken as empty."""
    publish_html(upstream, [WHEEL])
    whole = Reply(body=WHEEL.content, ranges=ranges)
    upstream.on(_file(upstream), lambda asked: Reply() if asked.method == "HEAD" else whole)
    async with _index(upstream) as repository:
        page = await repository.get_project_page(FOO)
        resource = await repository.get_resource(FOO, page.files[0].filename)
        assert (await resource.with_size()).size == len(WHEEL.content)


@pytest.mark.parametrize("ranges", [True, False])
async def test_parts_of_files(upstream: Upstream, ranges: bool) -> None:
    """A part is that part, whether the index does ranges or sends the whole."""
    publish_html(upstream, [WHEEL], ranges=ranges)
    async with _index(upstream) as repository:
        assert await _download(repository, ByteRange(5, 50)) == WHEEL.content[5:50]


async def test_another_part_than_asked_for_is_refused(upstream: Upstream) -> None:
    """An index that answers with another range is not believed."""
    publish_json(upstream, [WHEEL])
    wrong = Reply(status=206, body=b"x" * 45, headers={"Content-Range": "bytes 6-50/999"})
    upstream.on(_file(upstream), wrong)
    async with _index(upstream) as repository:
        with pytest.raises(SourceInvalid, match="another part"):
            await _download(repository, ByteRange(5, 50))


async def test_a_clock_set_back_does_not_keep_a_failed_index_unasked(upstream: Upstream) -> None:
    """After a failure it is asked again within seconds, though the failure seems to be to come."""
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


async def test_no_cache_asks_a_failed_index_again_after_a_second(upstream: Upstream) -> None:
    """Others are served stale for five; who wants it confirmed waits for an answer."""
    publish_json(upstream, [build_wheel("foo", "1.0")])
    clock, confirmed = Clock(), RequestContext(revalidate=True)
    async with _index(upstream, clock=clock) as repository:
        page = await repository.get_project_page(FOO)
        clock.now += 61
        upstream.on(PAGE, Reply(status=500))
        await repository.get_project_page(FOO)
        asked = len(upstream.seen(PAGE))
        await repository.get_project_page(FOO, context=confirmed)
        assert len(upstream.seen(PAGE)) == asked, "within the second"
        clock.now += 2
        await repository.get_project_page(FOO)
        assert len(upstream.seen(PAGE)) == asked
        publish_json(upstream, [build_wheel("foo", "1.0")])
        assert await repository.get_project_page(FOO, context=confirmed) is page
        assert page.freshness.stale_reason is None
