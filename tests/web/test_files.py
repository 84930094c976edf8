"""Files over HTTP: redirects, whole files, parts, conditions, and what never happens."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from simple_repository_server import (
    FilesMode,
    HttpRepository,
    LocalRepository,
    MetadataInjectorRepository,
    create_app,
)
from simple_repository_server.observe.events import Event, RequestFinished
from simple_repository_server.testing.distributions import build_sdist, build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Limits
from tests.asgi import ask, running

pytestmark = pytest.mark.anyio

WHEEL = build_wheel("foo", "1.0+cu", files={"data.bin": Random(0).randbytes(500_000)})
SDIST = build_sdist("foo", "1.0")
TARGET = f"/resources/foo/{WHEEL.filename}"
ETAG = f'"sha256:{WHEEL.sha256}"'
SIZE = len(WHEEL.content)
QUICK = Limits(connect_s=0.5, idle_s=0.5, page_s=1.0, attempts=1)


@pytest.fixture(params=["local", "local-by-descriptor", "stream-json", "stream-html"])
async def served(request: Any, upstream: Upstream, tmp_path: Path) -> AsyncIterator[Any]:
    """The same two files, from all kinds of places, in all the ways they can be sent."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for built in (WHEEL, SDIST):
        (folder / built.filename).write_bytes(built.content)
    if request.param.startswith("local"):
        repository: Any = LocalRepository(folder)
    else:
        publish = publish_json if request.param == "stream-json" else publish_html
        publish(upstream, [WHEEL, SDIST])
        repository = MetadataInjectorRepository(HttpRepository(upstream.simple, limits=QUICK))
    app = create_app(repository, files=FilesMode.STREAM)
    async with running(app):

        async def get(target: str = TARGET, **options: Any) -> Any:
            options.setdefault("sends_files", request.param == "local-by-descriptor")
            return await ask(app, target, **options)

        yield get


async def test_a_whole_file(served: Any) -> None:
    """All bytes, their length, a strong tag of their digest, no coding, kept for ever."""
    response = await served()
    assert response.status == 200
    assert response.body == WHEEL.content
    assert response.headers["content-length"] == str(SIZE)
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["etag"] == ETAG
    assert response.headers["cache-control"] == "public, max-age=365000000, immutable"
    assert "content-encoding" not in response.headers
    assert "content-disposition" not in response.headers


async def test_an_sdist_is_not_taken_for_coded(served: Any) -> None:
    """`.tar.gz` comes as bytes, never as a coded tar, whatever the client accepts."""
    headers = {"Accept-Encoding": "gzip, zstd, br"}
    response = await served(f"/resources/foo/{SDIST.filename}", headers=headers)
    assert response.body == SDIST.content
    assert "content-encoding" not in response.headers
    assert response.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("part", ["bytes=2-4", "bytes=99999999-"])
async def test_head_knows_no_ranges(served: Any, part: str) -> None:
    """A range in a HEAD request is ignored (RFC 9110 §14.2)."""
    head = await served(method="HEAD", headers={"Range": part})
    assert head.status == 200
    assert head.headers == (await served(method="HEAD")).headers


async def test_head(served: Any) -> None:
    """HEAD has the headers of GET."""
    get = await served()
    head = await served(method="HEAD")
    assert (head.status, head.headers, head.body) == (200, get.headers, b"")


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-99", 5, 100),
        ("bytes=1000-", 1000, SIZE),
        ("bytes=-10000", SIZE - 10000, SIZE),
        (f"bytes=-{10**9}", 0, SIZE),
        (f"bytes=10-{10**9}", 10, SIZE),
    ],
)
async def test_parts(served: Any, header: str, start: int, stop: int) -> None:
    """A range is that part, with its exact length and place."""
    for extra in ({}, {"If-Range": ETAG}):
        response = await served(headers={"Range": header, **extra})
        assert response.status == 206
        assert response.body == WHEEL.content[start:stop]
        assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"
        assert response.headers["content-length"] == str(stop - start)
        assert response.headers["etag"] == ETAG
        assert "content-encoding" not in response.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "lines=1-2"},
        {"Range": "bytes=0-1,5-9"},
        {"Range": "bytes=nonsense"},
        {"Range": "bytes=9-3"},
        {"Range": "bytes=0-5", "If-Range": '"other"'},
        {"Range": "bytes=0-5", "If-Range": f"W/{ETAG}"},
    ],
)
async def test_ranges_that_do_not_count(served: Any, headers: dict[str, str]) -> None:
    """What cannot be understood, or is of other bytes, gets the whole file."""
    response = await served(headers=headers)
    assert (response.status, response.body) == (200, WHEEL.content)


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", "bytes=-0"])
async def test_416(served: Any, header: str) -> None:
    """A range behind the end is refused, with the size."""
    response = await served(headers={"Range": header})
    assert response.status == 416
    assert response.headers["content-range"] == f"bytes */{SIZE}"


async def test_304(served: Any) -> None:
    """A client that has the file gets 304 with its tag, before any range."""
    for extra in ({}, {"Range": "bytes=0-5"}):
        response = await served(headers={"If-None-Match": f'"x", {ETAG}', **extra})
        assert (response.status, response.body) == (304, b"")
        assert response.headers["etag"] == ETAG
        assert "immutable" in response.headers["cache-control"]


@pytest.mark.parametrize("spelling", ["foo", "Foo", "FOO", "f-o-o"])
async def test_spellings_of_the_project(served: Any, spelling: str) -> None:
    """Every spelling of the project means the same project."""
    response = await served(f"/resources/{spelling}/{WHEEL.filename}")
    assert response.status == (404 if spelling == "f-o-o" else 200)


async def test_metadata(served: Any) -> None:
    """Metadata is the bytes in the wheel, with validators, uncoded, kept for ever."""
    headers = {"Accept-Encoding": "gzip, zstd"}
    response = await served(f"{TARGET}.metadata", headers=headers)
    assert (response.status, response.body) == (200, WHEEL.metadata)
    assert response.headers["etag"] == f'"sha256:{WHEEL.metadata_sha256}"'
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert "immutable" in response.headers["cache-control"]
    assert "content-encoding" not in response.headers
    tag = {"If-None-Match": response.headers["etag"]}
    assert (await served(f"{TARGET}.metadata", headers=tag)).status == 304


@pytest.mark.parametrize("what", ["a file beside it", "no digest"])
async def test_metadata_that_may_change_is_not_kept_by_clients(
    upstream: Upstream, tmp_path: Path, what: str
) -> None:
    """They ask each time, whole and on 304, as its name stays the same."""
    if what == "no digest":
        publish_html(upstream, [WHEEL], hashes=False)
        repository: Any = MetadataInjectorRepository(HttpRepository(upstream.simple, limits=QUICK))
    else:
        (tmp_path / WHEEL.filename).write_bytes(WHEEL.content)
        (tmp_path / f"{WHEEL.filename}.metadata").write_bytes(WHEEL.metadata)
        repository = LocalRepository(tmp_path)
    app = create_app(repository, files=FilesMode.STREAM)
    async with running(app):
        response = await ask(app, f"{TARGET}.metadata")
        assert (response.status, response.body) == (200, WHEEL.metadata)
        tag = {"If-None-Match": response.headers["etag"]}
        unchanged = await ask(app, f"{TARGET}.metadata", headers=tag)
        assert unchanged.status == 304
        for answer in (response, unchanged):
            assert answer.headers["cache-control"] == "max-age=0, must-revalidate"


@pytest.mark.parametrize(
    "target",
    [
        "/resources/foo/foo-9.9-py3-none-any.whl", f"/resources/bar/{WHEEL.filename}",
        f"/resources/foo/{SDIST.filename}.metadata", "/resources/foo/.", "/resources/foo/..",
        "/resources/foo/../../etc/passwd", "/resources/foo/a\\b", "/resources/foo/a\0b",
        f"/resources/-bad-/{WHEEL.filename}", "/resources/foo/.metadata",
        f"/resources/foo/{WHEEL.filename}.metadata.metadata", "/resources/foo/" + "x" * 300,
        f"/resources/foo/{WHEEL.filename}.asc",
    ],
)  # fmt: skip
async def test_what_is_not_there(served: Any, target: str) -> None:
    """Files that are not on the page, and names that lead elsewhere, are 404."""
    response = await served(target)
    assert response.status == 404
    assert response.body


# --- remote files --------------------------------------------------------------------------------


async def test_redirect_is_the_default(upstream: Upstream) -> None:
    """A remote file is at its origin: 302 there, and not to be remembered."""
    publish_json(upstream, [WHEEL])
    async with running(create_app(HttpRepository(upstream.simple))) as app:
        for method in ("GET", "HEAD"):
            response = await ask(app, TARGET, method=method)
            assert response.status == 302
            location = response.headers["location"]
            assert location.startswith(f"{upstream.url}/files/")
            assert location.endswith("foo-1.0%2Bcu-py3-none-any.whl")
            assert response.headers["cache-control"] == "no-store"
    assert len(upstream.requests) == 1


async def test_private_files_are_streamed_anyway(upstream: Upstream) -> None:
    """A client could not fetch a file that needs our credentials; they show nowhere."""
    publish_json(upstream, [WHEEL])
    url = upstream.simple.replace("//", "//alice:secret@")
    async with running(create_app(HttpRepository(url))) as app:
        response = await ask(app, TARGET)
        assert (response.status, response.body) == (200, WHEEL.content)
        assert "location" not in response.headers
        for target in ("/", "/readyz", "/simple/foo/"):
            assert "secret" not in (await ask(app, target)).text


def _place() -> str:
    return f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename.replace('+', '%2B')}"


async def test_upstream_headers_are_not_passed_on(upstream: Upstream) -> None:
    """Cookies, hop-by-hop headers and policies of an upstream stop here."""
    publish_json(upstream, [WHEEL])
    headers = {
        "Set-Cookie": "session=1", "Strict-Transport-Security": "max-age=9", "Keep-Alive": "x",
        "Content-Security-Policy": "x", "X-Custom": "x", "Content-Type": "text/html",
    }  # fmt: skip
    upstream.on(_place(), Reply(headers=headers, body=WHEEL.content))
    app = create_app(HttpRepository(upstream.simple), files=FilesMode.STREAM)
    async with running(app):
        response = await ask(app, TARGET)
    assert response.headers["content-type"] == "application/octet-stream"
    assert not {name.lower() for name in headers} - {"content-type"} & set(response.headers)
    request = upstream.seen(_place())[0]
    assert request.headers["accept-encoding"] == "identity"


async def test_client_headers_are_not_passed_on(upstream: Upstream) -> None:
    """What a client sends us (its credentials above all) is not sent upstream."""
    publish_json(upstream, [WHEEL])
    app = create_app(HttpRepository(upstream.simple), files=FilesMode.STREAM)
    async with running(app):
        await ask(app, TARGET, headers={"Authorization": "Basic Zm9v", "Cookie": "a=b"})
    for request in upstream.requests:
        assert not {"authorization", "cookie"} & set(request.headers)


@pytest.mark.parametrize("method", ["HEAD"])
async def test_head_costs_no_download(upstream: Upstream, method: str) -> None:
    """HEAD on a remote file is answered from its page, or by a HEAD upstream."""
    for publish in (publish_json, publish_html):
        publish(upstream, [WHEEL])
        app = create_app(HttpRepository(upstream.simple), files=FilesMode.STREAM)
        async with running(app):
            upstream.forget()
            response = await ask(app, TARGET, method=method)
            assert response.headers["content-length"] == str(SIZE)
            assert upstream.sent < 5000
        assert all(r.method == "HEAD" for r in upstream.requests if "/files/" in r.target)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(body=b"x" * SIZE), "cut"),
        (Reply(body=WHEEL.content, stop_after=300_000), "cut"),
        (Reply(body=WHEEL.content + b"x", length=-1), "cut"),
        (Reply(body=WHEEL.content, stop_after=10), 502),
        (Reply(body=b"<html>down</html>", length=-1), 502),
        (Reply(body=b"short"), 502),
        (Reply(status=503), 503),
        (Reply(status=404), 404),
        (Reply(status=500), 503),
        (Reply(reset=True), 503),
        (Reply(delay_s=2), 504),
    ],
)
async def test_no_client_completes_a_wrong_file(
    upstream: Upstream, reply: Reply, status: Any
) -> None:
    """A wrong or broken file is an error before it begins, or a connection cut before its end."""
    publish_json(upstream, [WHEEL])
    upstream.on(_place(), reply)
    events: list[Event] = []
    app = create_app(
        HttpRepository(upstream.simple, limits=QUICK), files=FilesMode.STREAM, emit=events.append
    )
    async with running(app):
        response = await ask(app, TARGET)
    if status == "cut":
        assert response.cut
        assert len(response.body) < SIZE
        finished = [event for event in events if isinstance(event, RequestFinished)]
        assert "cut off" in finished[-1].error
    else:
        assert (response.status, response.cut) == (status, False)


async def test_files_without_a_digest_are_streamed(upstream: Upstream) -> None:
    """Where the index gives no digest there is none to check; the upstream's own tag is used."""
    publish_html(upstream, [WHEEL], hashes=False)
    body = Reply(body=WHEEL.content, etag='"of-upstream"', ranges=True)
    upstream.on(_place(), body)
    app = create_app(HttpRepository(upstream.simple, limits=QUICK), files=FilesMode.STREAM)
    async with running(app):
        whole = await ask(app, TARGET)
        assert (whole.body, whole.headers["etag"]) == (WHEEL.content, '"of-upstream"')
        part = await ask(app, TARGET, headers={"Range": "bytes=5-9", "If-Range": '"of-upstream"'})
        assert (part.status, part.body) == (206, WHEEL.content[5:10])
