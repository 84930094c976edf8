"""Answers with unexpected bytes: either they do not matter, or the source is at fault."""

import http.client
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from simple_repository_server import FilesMode, HttpRepository, ProjectName, create_app
from simple_repository_server.errors import RepositoryError, SourceInvalid, TransferAborted
from simple_repository_server.resource import ByteRange
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import JSON_TYPE, publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream
from simple_repository_server.upstream.client import Limits
from simple_repository_server.upstream.resource import RemoteResource
from tests.asgi import JSON, ask, running
from tests.serving import serving

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0")
PAGE = "/simple/foo/"
FILE = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
QUICK = Limits(connect_s=0.5, idle_s=0.5, page_s=2, attempts=1, failures=10_000)
BODY = b'{"meta": {"api-version": "1.0"}, "name": "foo", "files": []}'

# fmt: off
HEADERS = [
    "Content-Type", "ETag", "Last-Modified", "Location", "Retry-After", "Content-Range",
    "Cache-Control", "Age", "Date", "Content-Length", "Content-Encoding", "Transfer-Encoding",
    "Connection", "Set-Cookie", "Vary", "Link", "Expires", "Content-Disposition",
    "WWW-Authenticate", "Trailer", "Upgrade", "Keep-Alive", "Accept-Ranges", "X-Odd",
]
# fmt: on
ODD = (
    rb'"\xff" \xff \xc3\xb6 \xed\xa0\x80 \x00 \x0b \x7f \x1b[31m 1e9 -1 99999999999999999999999'
    rb" 0x10 +5 max-age=\xff max-age=1e400 bytes\x200-0/\xff https://127.0.0.1:1#@127.0.0.2/"
    rb" http://[ //\xff@:/"
    rb" text/html;charset=\xff text/html;charset=idna gzip,\xff chunked,\xff =?utf-8?q?=ff?= a=b;=;"
    rb" http://127.0.0.1:99999/ http://\xff.example/ \\\\evil\\ %ff%00"
)
VALUES = [*(v.decode("unicode_escape").encode("latin-1") for v in ODD.split()), b"", b"9" * 5000]


def _raw(status: int, headers: list[tuple[str, bytes]], body: bytes) -> Reply:
    given = {name.lower() for name, _ in headers}
    lines = [b"HTTP/1.1 %d Odd" % status]
    lines += [b"%b: %b" % (name.encode(), value) for name, value in headers]
    if "content-type" not in given:
        lines.append(b"Content-Type: " + JSON_TYPE.encode())
    if not given & {"content-length", "transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    return Reply(raw=b"\r\n".join([*lines, b"", body]))


@asynccontextmanager
async def _index(upstream: Upstream) -> AsyncIterator[HttpRepository]:
    async with HttpRepository(upstream.simple, limits=QUICK) as repository:
        yield repository


def _cases(seed: str) -> list[list[tuple[str, bytes]]]:
    """Each header with some odd values, and then all of them together."""
    chance = random.Random(seed)
    alone = [[(name, value)] for name in HEADERS for value in chance.sample(VALUES, 6)]
    together = [[(name, chance.choice(VALUES)) for name in HEADERS] for _ in range(10)]
    return alone + together


STATUSES = pytest.mark.parametrize("status", [200, 206, 302, 304, 404, 429, 503])


@STATUSES
async def test_unusual_headers_of_a_page_cause_no_defect(upstream: Upstream, status: int) -> None:
    """There is a page, or an error that names its source."""
    async with running(create_app(HttpRepository(upstream.simple, limits=QUICK))) as app:
        for number, headers in enumerate(_cases(f"page {status}")):
            path = f"/simple/p{number}/"
            body = BODY.replace(b"foo", b"p%d" % number)
            upstream.on(path, _raw(status, headers, body))
            answer = await ask(app, path, headers={"Accept": JSON})
            assert upstream.seen(path)
            assert answer.status in {200, 404, 502, 503, 504}, headers


@STATUSES
async def test_unusual_headers_of_a_file_cause_no_defect(upstream: Upstream, status: int) -> None:
    """There is a file, or an error that names its source."""
    publish_html(upstream, [WHEEL], hashes=False)
    app = create_app(HttpRepository(upstream.simple, limits=QUICK), files=FilesMode.STREAM)
    async with running(app) as app:
        for headers in _cases(f"file {status}"):
            upstream.on(FILE, _raw(status, headers, WHEEL.content))
            upstream.forget()
            try:
                answer = await ask(app, f"/resources/foo/{WHEEL.filename}")
            except TransferAborted:
                continue  # its beginning was fine
            assert upstream.seen(FILE)
            assert answer.status in {200, 404, 502, 503, 504}, headers
            await ask(app, f"/resources/foo/{WHEEL.filename}", headers={"Range": "bytes=0-9"})


def test_server_survives_unusual_headers(upstream: Upstream, tmp_path: Path) -> None:
    """The running server answers each request, with complete error texts."""
    with serving(tmp_path, "--files", "stream", upstream.simple) as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
        with closing(connection):
            for number, headers in enumerate(_cases("command")[::3]):
                status = (200, 302, 503)[number % 3]
                body = BODY.replace(b"foo", b"p%d" % number)
                upstream.on(f"/simple/p{number}/", _raw(status, headers, body))
                connection.request("GET", f"/simple/p{number}/", headers={"Accept": JSON})
                answer = connection.getresponse()
                detail = answer.read()
                assert answer.status in {200, 404, 502, 503, 504}, headers
                assert answer.status in {200, 404} or upstream.simple.encode() in detail
        assert "Traceback" not in server.log


async def test_validator_that_cannot_be_sent_back_is_ignored(upstream: Upstream) -> None:
    """The page is served, and fetched unconditionally when it is stale."""
    upstream.on(PAGE, _raw(200, [("ETag", b'"\xff"'), ("Last-Modified", b"\xff")], BODY))
    async with running(create_app(HttpRepository(upstream.simple, limits=QUICK))) as app:
        for _ in range(2):
            answer = await ask(app, PAGE, headers={"Accept": JSON, "Cache-Control": "no-cache"})
            assert answer.status == 200
    assert "if-none-match" not in upstream.requests[-1].headers


@pytest.mark.parametrize(
    "location",
    ["http://own\\@evil/", "http://%C3%B6/", "http://h:99999/", "http://h:0/", "ftp://h/"],
)
async def test_ambiguous_redirect_is_refused(upstream: Upstream, location: str) -> None:
    """Where parsers differ in what its host is, no request is sent."""
    upstream.on(PAGE, Reply(status=302, headers={"Location": location}))
    async with _index(upstream) as repository:
        with pytest.raises(SourceInvalid, match="redirects"):
            await repository.get_project_page(FOO)


async def test_credentials_are_not_sent_to_hosts_that_look_like_their_origin(
    upstream: Upstream,
) -> None:
    """The host behind a trick in a URL is another origin."""
    with Upstream() as evil:
        home = upstream.url.removeprefix("http://")
        there = evil.url.removeprefix("http://")
        for location in (f"http://{home}@{there}/x", f"http://{home}%20@{there}/x"):
            upstream.on(PAGE, Reply(status=302, headers={"Location": location}))
            async with HttpRepository(
                upstream.simple.replace("//", "//me:secret@"), limits=QUICK
            ) as repository:
                with pytest.raises(RepositoryError):
                    await repository.get_project_page(FOO)
        secret = "bWU6c2VjcmV0"
        assert all(secret not in r.headers.get("authorization", "") for r in evil.requests)


# --- parts of another file -----------------------------------------------------------------------


def _resource(repository: HttpRepository, url: str, **known: object) -> RemoteResource:
    client = repository._client
    return RemoteResource(client, url, project="foo", filename="foo.whl", **known)  # type: ignore[arg-type]


def _part(of: bytes, **headers: str) -> Reply:
    given = {"Content-Range": f"bytes 5-{len(of) - 1}/{len(of)}", **headers}
    return Reply(status=206, body=of[5:], headers=given)


async def test_range_of_a_file_of_another_size_is_refused(upstream: Upstream) -> None:
    """A resumed download must be of the size that the page states."""
    publish_json(upstream, [WHEEL])
    other = WHEEL.content + b"more"
    upstream.on(FILE, Reply(body=other, ranges=True))
    async with _index(upstream) as repository:
        page = await repository.get_project_page(FOO)
        resource = await repository.get_resource(FOO, page.files[0].filename)
        with pytest.raises(SourceInvalid, match="its page says"):
            async with resource.open(ByteRange(10, 20)):
                pass
        with pytest.raises(SourceInvalid, match="its page says"):
            async with resource.open_raw(10):
                pass


@pytest.mark.parametrize("hashes", [{}, {"sha256": "0" * 64}])
async def test_range_with_another_validator_is_refused(
    upstream: Upstream, hashes: dict[str, str]
) -> None:
    """Servers that ignore `If-Range` are found out by it."""
    upstream.on("/f", _part(b"0123456789", ETag='"new"'))
    async with _index(upstream) as repository:
        resource = _resource(repository, f"{upstream.url}/f", size=10, hashes=hashes)
        with pytest.raises(SourceInvalid, match="another"):
            async with resource.open_raw(5, version='"old"'):
                pass
        async with resource.open_raw(5, version='"new"') as transfer:
            assert transfer.start == 5
        resource = _resource(
            repository, f"{upstream.url}/f", size=10, hashes=hashes, version='"old"'
        )
        with pytest.raises(SourceInvalid, match="another"):
            async with resource.open(ByteRange(5, 10)):
                pass
    assert {r.headers.get("if-range") for r in upstream.requests} == {'"old"', '"new"'}


@pytest.mark.parametrize(
    ("version", "hashes", "accepted"),
    [
        ('"old"', {}, False),
        ('"old"', {"sha256": "0" * 64}, True),
        ("Wed, 21 Oct 2026 07:28:00 GMT", {}, True),
    ],
)
async def test_range_without_a_validator(
    upstream: Upstream, version: str, hashes: dict[str, str], accepted: bool
) -> None:
    """It may lack a date, but not an ETag, unless a digest proves the file in the end."""
    upstream.on("/f", _part(b"0123456789"))
    async with _index(upstream) as repository:
        resource = _resource(repository, f"{upstream.url}/f", size=10, hashes=hashes)
        try:
            async with resource.open_raw(5, version=version):
                assert accepted
        except SourceInvalid:
            assert not accepted


@pytest.mark.parametrize(("size", "accepted"), [(None, False), (10, True)])
async def test_range_in_a_content_coding_is_refused(
    upstream: Upstream, size: int | None, accepted: bool
) -> None:
    """It counts only where the page states that size, as no digest proves a range."""
    coded = {"Content-Encoding": "gzip"}
    upstream.on("/part", _part(b"0123456789", **coded))
    upstream.on("/whole", Reply(body=b"0123456789", headers=coded))
    async with _index(upstream) as repository:
        for path in ("/part", "/whole"):
            url, hashes = f"{upstream.url}{path}", {"sha256": "0" * 64}
            resource = _resource(repository, url, size=size, hashes=hashes)
            assert (await resource.with_size()).size == size
            try:
                async with resource.open(ByteRange(5, 10)):
                    assert accepted
            except SourceInvalid:
                assert not accepted
            async with resource.open() if path == "/whole" else resource.open_raw(5):
                pass  # a digest of the whole tells


async def test_file_replaced_between_head_and_get_is_refused(
    upstream: Upstream,
) -> None:
    """A file without a digest must be the one whose head was requested."""
    publish_html(upstream, [WHEEL], hashes=False)

    def reply(request: Request) -> Reply:
        tag = '"old"' if request.method == "HEAD" else '"new"'
        return Reply(body=WHEEL.content, headers={"ETag": tag})

    upstream.on(FILE, reply)
    async with _index(upstream) as repository:
        page = await repository.get_project_page(FOO)
        resource = await repository.get_resource(FOO, page.files[0].filename)
        measured = await resource.with_size()
        assert measured.validator == '"old"'
        with pytest.raises(SourceInvalid, match="another"):
            async with measured.open(ByteRange(0, 10)):
                pass
