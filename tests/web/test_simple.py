"""Lists and pages over HTTP: forms, codings, validators, freshness, redirects, errors."""

import gzip
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import zstandard
from packaging.version import Version
from typing_extensions import override

from simple_repository_server import (
    HttpRepository,
    LocalRepository,
    MemoryRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    ProjectName,
    create_app,
)
from simple_repository_server.freshness import Freshness
from simple_repository_server.model import File, ProjectPage, ProjectStatus, Status
from simple_repository_server.names import FileName
from simple_repository_server.testing.distributions import build_sdist, build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.upstream.client import Limits
from tests.asgi import JSON, ask, running

pytestmark = pytest.mark.anyio

HTML_V1 = "application/vnd.pypi.simple.v1+html"
PIP = f"{JSON}, {HTML_V1}; q=0.1, text/html; q=0.01"
WHEEL = build_wheel("foo-bar", "1.0")
LOCAL = build_wheel("foo-bar", "1.1+local")
QUICK = Limits(connect_s=0.5, idle_s=0.5, page_s=1.0, attempts=1)


def _repository() -> MemoryRepository:
    repository = MemoryRepository()
    for built in (WHEEL, LOCAL, build_sdist("foo-bar", "1.0"), build_wheel("Other_Project")):
        wheel = built.filename.endswith(".whl")
        repository.add(built.filename, built.content, metadata=built.metadata if wheel else None)
    return repository


@pytest.fixture
async def app() -> AsyncIterator[Any]:
    """An index with two projects."""
    async with running(create_app(_repository())) as application:
        yield application


# --- forms and codings ---------------------------------------------------------------------------


async def test_the_golden_json_page(app: Any) -> None:
    """The exchange of STANDARDS §7: pip's header gets JSON with all that the standards ask for."""
    response = await ask(app, "/simple/foo-bar/", headers={"Accept": PIP})
    assert response.status == 200
    assert response.headers["content-type"] == JSON
    assert response.headers["vary"] == "Accept, Accept-Encoding"
    assert response.headers["cache-control"] == "max-age=0, must-revalidate"
    assert re.fullmatch(r'"[\w-]+"', response.headers["etag"])
    assert int(response.headers["content-length"]) == len(response.body)
    page = response.json()
    assert page["meta"] == {"api-version": "1.4"}
    assert page["name"] == "foo-bar"
    assert page["versions"] == ["1.0", "1.1+local"]
    by_name = {file["filename"]: file for file in page["files"]}
    file = by_name[LOCAL.filename]
    assert file["url"] == "../../resources/foo-bar/foo_bar-1.1%2Blocal-py3-none-any.whl"
    assert file["hashes"] == {"sha256": LOCAL.sha256}
    assert file["core-metadata"] == {"sha256": LOCAL.metadata_sha256}
    assert (file["size"], file["yanked"]) == (len(LOCAL.content), False)


async def test_the_golden_html_page(app: Any) -> None:
    """The same page for anybody: HTML 1.4, one anchor a file, both names of the metadata."""
    response = await ask(app, "/simple/foo-bar/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert '<meta name="pypi:repository-version" content="1.4">' in response.text
    anchors = re.findall(r"<a .*?</a><br />", response.text)
    assert len(anchors) == 3
    digest = f'"sha256={WHEEL.metadata_sha256}"'
    expected = (
        f'<a href="../../resources/foo-bar/{WHEEL.filename}#sha256={WHEEL.sha256}"'
        f" data-dist-info-metadata={digest} data-core-metadata={digest}"
        f' data-size="{len(WHEEL.content)}">{WHEEL.filename}</a><br />'
    )
    assert expected in anchors


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        (JSON, JSON),
        (HTML_V1, f"{HTML_V1}; charset=utf-8"),
        ("application/vnd.pypi.simple.latest+json", JSON),
        ("text/html;charset=utf-8", "text/html; charset=utf-8"),
        ("not an accept header;;;q=", "text/html; charset=utf-8"),
    ],
)
@pytest.mark.parametrize("target", ["/simple/", "/simple/foo-bar/"])
async def test_content_types(app: Any, target: str, accept: str | None, content_type: str) -> None:
    """The type is always concrete, never what an `Accept` with an odd parameter made of it."""
    response = await ask(app, target, headers={"Accept": accept} if accept else {})
    assert (response.status, response.headers["content-type"]) == (200, content_type)


async def test_406_lists_what_there_is(app: Any) -> None:
    """Only unknown types: 406, with the types on offer, in the client's form."""
    response = await ask(app, "/simple/foo-bar/", headers={"Accept": "application/json"})
    assert response.status == 406
    assert JSON in response.json()["detail"]
    assert "Accept" in response.headers["vary"]


async def test_several_accept_lines_are_one_list(app: Any) -> None:
    """A header that comes in two lines means the same as in one."""
    response = await ask(app, "/simple/", headers={"Accept": "text/html;q=0.1", "ACCEPT": JSON})
    assert response.headers["content-type"] == JSON


async def test_format_in_the_query(app: Any) -> None:
    """`?format=` overrides `Accept`, with its `+` as it is or decoded."""
    for plus in ("+", "%2B", "%20"):
        target = f"/simple/foo-bar/?format=application/vnd.pypi.simple.v1{plus}json"
        response = await ask(app, target.replace("%20", "+"), headers={"Accept": "text/html"})
        assert response.headers["content-type"] == JSON


@pytest.mark.parametrize("target", ["/simple/", "/simple/foo-bar/"])
@pytest.mark.parametrize("accept", [JSON, "text/html"])
async def test_codings(app: Any, target: str, accept: str) -> None:
    """gzip and zstd unfold to the identity form; each has an entity tag of its own."""
    plain = await ask(app, target, headers={"Accept": accept})
    tags = {plain.headers["etag"]}
    for coding, decode in (("gzip", gzip.decompress), ("zstd", zstandard.decompress)):
        headers = {"Accept": accept, "Accept-Encoding": coding}
        coded = await ask(app, target, headers=headers)
        assert coded.headers["content-encoding"] == coding
        assert decode(coded.body) == plain.body
        tags.add(coded.headers["etag"])
    assert len(tags) == 3
    assert "content-encoding" not in plain.headers


async def test_each_form_has_a_tag_of_its_own(app: Any) -> None:
    """JSON, HTML under either name: three entity tags."""
    responses = [await ask(app, "/simple/", headers={"Accept": a}) for a in (JSON, HTML_V1, "*/*")]
    assert len({response.headers["etag"] for response in responses}) == 3


async def test_every_application_says_the_same(tmp_path: Any) -> None:
    """Two servers on the same directory, or one after a restart, send the same bytes and tags."""
    (tmp_path / WHEEL.filename).write_bytes(WHEEL.content)
    answers = set()
    for _ in range(2):
        async with running(create_app(LocalRepository(tmp_path))) as app:
            for coding in ("identity", "gzip", "zstd"):
                response = await ask(
                    app, "/simple/foo-bar/", headers={"Accept": JSON, "Accept-Encoding": coding}
                )
                answers.add((response.body, response.headers["etag"]))
    assert len(answers) == 3


# --- conditions, HEAD, methods -------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/simple/", "/simple/foo-bar/"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_304(app: Any, target: str, coding: str) -> None:
    """A client that has it gets 304 with the same tag and caching headers, and no body."""
    headers = {"Accept": JSON, "Accept-Encoding": coding}
    full = await ask(app, target, headers=headers)
    for tag in (full.headers["etag"], f'"other", W/{full.headers["etag"]}', "*"):
        response = await ask(app, target, headers={**headers, "If-None-Match": tag})
        assert (response.status, response.body) == (304, b"")
        for name in ("etag", "cache-control", "vary"):
            assert response.headers[name] == full.headers[name]
        assert "content-length" not in response.headers
    response = await ask(app, target, headers={**headers, "If-None-Match": '"other"'})
    assert response.status == 200


@pytest.mark.parametrize(
    "target",
    ["/simple/", "/simple/foo-bar/", f"/resources/foo-bar/{WHEEL.filename}", "/", "/healthz",
     "/readyz", "/simple/nope/", "/simple/Foo_Bar", "/nothing", "/simple"],
)  # fmt: skip
async def test_head_is_get_without_the_body(app: Any, target: str) -> None:
    """HEAD has the status and headers of GET, on every route and every error."""
    get = await ask(app, target)
    head = await ask(app, target, method="HEAD")
    assert (head.status, head.headers) == (get.status, get.headers)
    assert head.body == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
@pytest.mark.parametrize("target", ["/simple/", "/simple/foo-bar/", "/resources/foo-bar/x", "/"])
async def test_other_methods_are_405(app: Any, target: str, method: str) -> None:
    """Any other method is refused, saying which are possible."""
    response = await ask(app, target, method=method)
    assert response.status == 405
    assert response.headers["allow"] == "GET, HEAD"
    assert response.body


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/simple/Foo.Bar_baz/?format=x%2By", "../foo-bar-baz/?format=x%2By"),
        ("/simple/Foo.Bar_baz?a=1", "foo-bar-baz/?a=1"),
        ("/simple/foo-bar", "foo-bar/"),
        ("/simple/FOO-BAR/", "../foo-bar/"),
        ("/simple", "simple/"),
        ("/simple?format=text/html", "simple/?format=text/html"),
    ],
)
async def test_other_spellings_redirect_once(app: Any, target: str, location: str) -> None:
    """One relative permanent redirect to the proper address, with the query kept."""
    response = await ask(app, target)
    assert (response.status, response.headers["location"]) == (301, location)


@pytest.mark.parametrize(
    "target",
    ["/simple/-bad-/", "/simple/../", "/simple/%2e/", "/simple/a b/", "/simple/ſ/", "/simple/nope/",
     "/simple/foo-bar/extra/", "/simple//", "//simple/", "/simple/-bad-", "/other", "/simple/a\0b/",
     "/favicon.ico", "/resources/", "/resources/foo-bar/", "/pypi/foo-bar/json"],
)  # fmt: skip
async def test_404(app: Any, target: str) -> None:
    """What cannot be or is not is 404 with one sentence, never 400 or 500."""
    response = await ask(app, target, headers={"Accept": PIP})
    assert response.status == 404
    assert response.json()["detail"]
    assert response.headers["cache-control"] == "no-store"


# --- what pages say ------------------------------------------------------------------------------


def _single(**changes: Any) -> Any:
    file = File(
        filename=FileName("foo-1.0.tar.gz"),
        url="https://x.example/foo-1.0.tar.gz",
        hashes={},
        size=1,
    )
    fields = {name: changes.pop(name) for name in list(changes) if name in File.__struct_fields__}
    page = ProjectPage(
        name=ProjectName("foo"),
        files=(msgspec.structs.replace(file, **fields),),
        versions=("1.0",),
        **changes,
    )
    return create_app(MemoryRepository({page.name: page}))


async def test_yank_reasons_with_markup() -> None:
    """A yank reason is escaped in HTML, and not in JSON."""
    reason = 'broken <script>"&'
    app = _single(yanked=reason)
    html = (await ask(app, "/simple/foo/")).text
    assert 'data-yanked="broken &lt;script&gt;&quot;&amp;"' in html
    assert "<script>" not in html
    page = (await ask(app, "/simple/foo/", headers={"Accept": JSON})).json()
    assert page["files"][0]["yanked"] == reason


async def test_project_status_is_told() -> None:
    """The status shows in both forms; a quarantined project offers nothing."""
    app = _single(status=ProjectStatus(Status.ARCHIVED, "moved <on>"))
    page = (await ask(app, "/simple/foo/", headers={"Accept": JSON})).json()
    assert page["project-status"] == {"status": "archived", "reason": "moved <on>"}
    html = (await ask(app, "/simple/foo/")).text
    assert '<meta name="pypi:project-status" content="archived">' in html
    assert '<meta name="pypi:project-status-reason" content="moved &lt;on&gt;">' in html
    app = _single(status=ProjectStatus(Status.QUARANTINED))
    response = await ask(app, "/simple/foo/", headers={"Accept": JSON})
    assert (response.status, response.json()["files"]) == (200, [])
    assert (await ask(app, "/resources/foo/foo-1.0.tar.gz")).status == 404


async def test_serials_are_told() -> None:
    """The serial of a mirrored project is in the header, in JSON and in HTML."""
    app = _single(serial=42)
    response = await ask(app, "/simple/foo/", headers={"Accept": JSON})
    assert response.headers["x-pypi-last-serial"] == "42"
    assert response.json()["meta"]["_last-serial"] == 42
    assert "<!--SERIAL 42-->" in (await ask(app, "/simple/foo/")).text


async def test_a_page_without_sizes_claims_no_more_than_it_has() -> None:
    """Where a size is not known the page is of version 1.0, and says all the rest it knows."""
    page = (await ask(_single(size=None), "/simple/foo/", headers={"Accept": JSON})).json()
    assert page["meta"]["api-version"] == "1.0"
    assert "size" not in page["files"][0]
    assert page["versions"] == ["1.0"]


async def test_versions_are_in_order(tmp_path: Any) -> None:
    """`versions` comes in the order of the versions, the same each time."""
    for version in ("1.10", "1.9", "2.0rc1", "2.0"):
        built = build_wheel("foo", version)
        (tmp_path / built.filename).write_bytes(built.content)
    async with running(create_app(LocalRepository(tmp_path))) as app:
        page = (await ask(app, "/simple/foo/", headers={"Accept": JSON})).json()
    assert page["versions"] == sorted(page["versions"], key=Version)


# --- freshness -----------------------------------------------------------------------------------


async def test_a_mirror_passes_on_how_fresh_it_is(upstream: Upstream) -> None:
    """At most what upstream said, at most 600 s, less what has passed: max-age and Age."""
    publish_json(upstream, [WHEEL], max_age=3600)
    async with running(create_app(HttpRepository(upstream.simple))) as app:
        response = await ask(app, "/simple/foo-bar/")
    assert response.headers["cache-control"] == "public, max-age=600"
    assert int(response.headers["age"]) < 5


async def test_something_local_must_be_asked_for(upstream: Upstream, tmp_path: Any) -> None:
    """A list with anything local in it must be asked for each time."""
    publish_json(upstream, [WHEEL], max_age=3600)
    both = PrioritySelectedProjectsRepository(
        [LocalRepository(tmp_path), HttpRepository(upstream.simple)]
    )
    async with running(create_app(both)) as app:
        response = await ask(app, "/simple/")
    assert response.headers["cache-control"] == "max-age=0, must-revalidate"


async def test_a_stale_page_says_so(upstream: Upstream) -> None:
    """Served while its index is down, a page has its age and a warning, and the same tag."""
    publish_json(upstream, [WHEEL], max_age=0)
    async with running(create_app(HttpRepository(upstream.simple, limits=QUICK))) as app:
        before = await ask(app, "/simple/foo-bar/")
        upstream.refuse()
        response = await ask(app, "/simple/foo-bar/")
    assert (response.status, response.body) == (200, before.body)
    assert response.headers["etag"] == before.headers["etag"]
    assert response.headers["warning"].startswith('110 - "stale: The source http://127.0.0.1')
    assert "age" in response.headers


async def test_one_failing_source_costs_only_its_names(upstream: Upstream) -> None:
    """The list is there without it, must be asked for again, and says what is missing."""
    upstream.refuse()
    repository = PrioritySelectedProjectsRepository(
        [_repository(), HttpRepository(upstream.simple, limits=QUICK)]
    )
    async with running(create_app(repository)) as app:
        response = await ask(app, "/simple/", headers={"Accept": JSON})
    assert response.status == 200
    assert [p["name"] for p in response.json()["projects"]] == ["foo-bar", "other-project"]
    assert upstream.simple in response.headers["warning"]
    assert "must-revalidate" in response.headers["cache-control"]


async def test_private_names_are_taken_and_not_told(upstream: Upstream) -> None:
    """A name the first source has is its own; the second one is not even asked."""
    publish_json(upstream, [build_wheel("foo-bar", "99.0")])
    repository = PrioritySelectedProjectsRepository(
        [_repository(), HttpRepository(upstream.simple)]
    )
    async with running(create_app(repository)) as app:
        page = (await ask(app, "/simple/foo-bar/", headers={"Accept": JSON})).json()
        assert page["versions"] == ["1.0", "1.1+local"]
        stolen = await ask(app, "/resources/Foo_Bar/foo_bar-99.0-py3-none-any.whl")
        assert stolen.status == 404
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(status=401), 503),
        (Reply(status=403), 503),
        (Reply(status=500), 503),
        (Reply(reset=True), 503),
        (Reply(delay_s=3), 504),
        (Reply(status=400), 502),
        (Reply(body=b"?"), 502),
    ],
)
async def test_a_failing_first_source_fails_closed(
    upstream: Upstream, reply: Reply, status: int
) -> None:
    """When the first source cannot say, the second one's package is not served in its place."""
    for target in ("/simple/foo-bar/", "/simple/"):
        upstream.on(target, reply)
    url = upstream.simple.replace("//", "//alice:secret@")
    repository = PrioritySelectedProjectsRepository(
        [HttpRepository(url, limits=QUICK), _repository()]
    )
    async with running(create_app(repository)) as app:
        for target in ("/simple/foo-bar/", f"/resources/foo-bar/{WHEEL.filename}"):
            response = await ask(app, target, headers={"Accept": PIP})
            assert response.status == status
            assert upstream.simple in response.json()["detail"]
            assert "secret" not in response.text
            assert "alice" not in response.text
            assert 0 < int(response.headers["retry-after"]) <= 60


async def test_html_only_upstreams_get_json_metadata_and_dates(upstream: Upstream) -> None:
    """From an old HTML index clients get JSON and metadata for every wheel."""
    publish_html(upstream, [WHEEL])
    repository = MetadataInjectorRepository(HttpRepository(upstream.simple))
    async with running(create_app(repository)) as app:
        page = (await ask(app, "/simple/foo-bar/", headers={"Accept": PIP})).json()
        assert page["files"][0]["core-metadata"] is True
        target = f"/resources/foo-bar/{WHEEL.filename}.metadata"
        response = await ask(app, target)
        assert (response.status, response.body) == (200, WHEEL.metadata)
        page = (await ask(app, "/simple/foo-bar/", headers={"Accept": PIP})).json()
        assert page["files"][0]["core-metadata"] == {"sha256": WHEEL.metadata_sha256}


async def test_an_error_of_ours_is_a_500_without_details() -> None:
    """A component with a mistake in it is told of as such, without a traceback for clients."""

    class Broken(MemoryRepository):
        @override
        async def get_project_page(self, *_: Any, **__: Any) -> ProjectPage:
            raise ZeroDivisionError("a secret detail")

    events: list[Any] = []
    app = create_app(Broken(), emit=events.append)
    response = await ask(app, "/simple/foo/", headers={"Accept": PIP})
    assert response.status == 500
    assert "secret" not in response.text
    assert any("ZeroDivisionError" in getattr(event, "what", "") for event in events)


async def test_freshness_shows_in_the_age(upstream: Upstream) -> None:
    """A page that has been kept for a while says for how long."""
    freshness = Freshness(validated_at=0.0, lifetime_s=600.0)
    response = await ask(_single(freshness=freshness), "/simple/foo/")
    assert int(response.headers["age"]) > 1_000_000
