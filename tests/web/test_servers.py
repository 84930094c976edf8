"""The application answers alike under every server: under ours, and under those of others."""

import os
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import trustme

from simple_repository_server.testing.distributions import build_sdist, build_wheel
from simple_repository_server.testing.published import JSON_TYPE, publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.serving import serving
from tests.web.served_app import SERVERS, Answer, Client, served

JSON = JSON_TYPE
FORMS = (JSON, "application/vnd.pypi.simple.v1+html", "text/html")
CODINGS = ("identity", "gzip", "zstd")
SMALL = build_wheel("local", "1.0", files={"data": os.urandom(3_000)})
LARGE = build_wheel("local", "2.0", files={"data": os.urandom(700_000)})
SDIST = build_sdist("local", "2.0")
REMOTE = build_wheel("remote", "1.0+cu1", files={"data": os.urandom(300_000)})
#: The name that all requests are for.
NAMED = ("--allowed-host", "index.example")
#: So many projects that the list is compressed as it is written, and streamed (`folding.py`).
MANY = 50_001

Request = tuple[str, str, dict[str, str]]


def _requests() -> list[Request]:
    """Of all kinds of requests one or more."""
    small, large = f"/resources/local/{SMALL.filename}", f"/resources/local/{LARGE.filename}"
    sdist, remote = f"/resources/local/{SDIST.filename}", f"/resources/remote/{REMOTE.filename}"
    remote = remote.replace("+", "%2B")
    pages = ("/simple/", "/simple/local/", "/simple/remote/")
    files = (small, large, sdist, remote, f"{small}.metadata", f"{remote}.metadata")
    asked = [
        (method, page, {"accept": form, "accept-encoding": coding})
        for page in pages
        for form in FORMS
        for coding in CODINGS
        for method in ("GET", "HEAD")
    ]
    paths = ("/", "/healthz", "/readyz", "/simple", "/simple/Local", "/simple/LOCAL/?a=b%20c",
             "/simple/nope/", "/simple/%00/", "/nothing", "/resources/local/absent-1.0.tar.gz",
             f"{sdist}.metadata", remote.replace("%2B", "+"),
             f"/simple/local/?format={JSON.replace('+', '%2B')}")  # fmt: skip
    asked += [(m, path, {}) for path in (*paths, *pages, *files) for m in ("GET", "HEAD", "POST")]
    asked += [("DELETE", small, {}), ("OPTIONS", "/simple/", {}), ("PUT", "/", {})]
    asked += [("GET", page, {"accept": "image/png"}) for page in pages]
    asked += [
        (method, file, {"range": f"bytes={wanted}"})
        for file in files
        for wanted in ("0-9", "5-", "-7", "0-99999999", "99999999-", "x", "0-1,4-5")
        for method in ("GET", "HEAD")
    ]
    asked += [("GET", file, {"range": "bytes=1-5", "if-range": '"other"'}) for file in files]
    asked += [("GET", path, {"if-none-match": "*"}) for path in (*pages, *files)]
    return asked


def _conditional(request: Request, answer: Answer) -> list[Request]:
    """The same request from who has the answer already: what was changed since, and a part."""
    method, target, headers = request
    etag = dict(answer.headers).get("etag")
    if method != "GET" or answer.status != 200 or etag is None:
        return []
    return [
        (method, target, {**headers, "if-none-match": etag}),
        (method, target, {**headers, "if-none-match": f'"other", W/{etag}'}),
        (method, target, {**headers, "range": "bytes=3-9", "if-range": etag}),
    ]


#: What is a server's own business, and not the application's.
_OF_SERVERS = {"date", "server", "connection", "keep-alive", "transfer-encoding"}


def _comparable(answer: Answer) -> Answer:
    """All that the application says, but for how old it is by now."""
    headers = [
        (name, "" if name == "age" else value)
        for name, value in answer.headers
        if name not in _OF_SERVERS
    ]
    return msgspec.structs.replace(answer, headers=sorted(headers))


def _ask_all(client: Client) -> dict[str, Answer]:
    """The answers to all requests, which are asked twice: cold, and when all is at hand."""
    answers = {}
    for turn in ("cold", "warm"):
        for request in _requests():
            method, target, headers = request
            answer = client.ask(method, target, **headers)
            answers[f"{turn} {request}"] = _comparable(answer)
            for again in _conditional(request, answer):
                method, target, headers = again
                answers[f"{turn} {again}"] = _comparable(client.ask(method, target, **headers))
    return answers


class Sources:
    """A directory, an index behind it, and what the command answers with them."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.packages = folder / "packages"
        self.packages.mkdir()
        for built in (SMALL, LARGE, SDIST):
            (self.packages / built.filename).write_bytes(built.content)
        publish_json(upstream, [REMOTE], max_age=600)
        self.upstream = upstream
        self._folder = folder
        self._answers: dict[str, dict[str, Answer]] = {}

    @property
    def arguments(self) -> tuple[str, str]:
        """The sources as the command takes them."""
        return str(self.packages), self.upstream.simple

    def answers(self, files: str) -> dict[str, Answer]:
        """What the command answers."""
        if files not in self._answers:
            options = ("--no-cache", "--files", files, "--log-level", "warning", *NAMED)
            with serving(self._folder, *options, *self.arguments) as server:
                port = urlsplit(server.url).port
                assert port is not None
                with closing(Client(port)) as client:
                    self._answers[files] = _ask_all(client)
        return self._answers[files]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    """The same for all tests: what the command answers is found out once."""
    with Upstream() as upstream:
        yield Sources(tmp_path_factory.mktemp("sources"), upstream)


def _assert_same(found: dict[str, Answer], expected: dict[str, Answer]) -> None:
    assert found.keys() == expected.keys()
    for request, answer in found.items():
        assert answer == expected[request], request


def test_the_table_has_answers_of_all_kinds(sources: Sources) -> None:
    """Of each kind of answer the index gives one is compared, so that the comparison says much."""
    streamed = {answer.status for answer in sources.answers("stream").values()}
    assert streamed == {200, 206, 301, 304, 404, 405, 406, 416}
    redirected = [a for a in sources.answers("redirect").values() if a.status == 302]
    assert {dict(answer.headers)["location"].split("/files/")[0] for answer in redirected} == {
        sources.upstream.url
    }


@pytest.mark.parametrize("files", ["stream", "redirect"])
@pytest.mark.parametrize("server", SERVERS)
def test_every_server_gives_the_commands_answers(sources: Sources, server: str, files: str) -> None:
    """Status, headers and body are those of the command, of files streamed and redirected."""
    with served(server, *sources.arguments, files=files) as client:
        _assert_same(_ask_all(client), sources.answers(files))


def test_the_protocol_under_tls_gives_the_same_answers(sources: Sources, tmp_path: Path) -> None:
    """Where files cannot be sent past the transport they are sent in pieces: the same bytes."""
    authority = trustme.CA()
    pem = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    for loop in ("asyncio", "uvloop"):
        with served(
            f"protocol-{loop}", *sources.arguments, files="stream", pem=str(pem), trusted=trusted
        ) as client:
            home = f"warm {('GET', '/', {})}"
            found, expected = _ask_all(client), sources.answers("stream")
            assert b"--index-url https://" in found[home].body
            assert b"--index-url http://" in expected[home].body
            for_people = {request for request in found if "'/', {}" in request}
            _assert_same(_without(found, for_people), _without(expected, for_people))


def _without(answers: dict[str, Answer], requests: set[str]) -> dict[str, Answer]:
    return {request: answer for request, answer in answers.items() if request not in requests}


@pytest.mark.parametrize("server", SERVERS)
def test_every_server_gives_the_large_list(tmp_path: Path, upstream: Upstream, server: str) -> None:
    """A list that is nowhere as a whole is, in every form and coding, the same under all."""
    names = [{"name": f"project-{number}"} for number in range(MANY)]
    body = msgspec.json.encode({"meta": {"api-version": "1.4"}, "projects": names})
    upstream.on("/simple/", Reply(headers={"Content-Type": JSON}, body=body))

    def lists(client: Client) -> list[Answer]:
        return [
            _comparable(client.ask(method, "/simple/", accept=form, accept_encoding=coding))
            for form in FORMS[:2]
            for coding in CODINGS
            for method in ("GET", "HEAD")
        ]

    with serving(tmp_path, "--no-cache", *NAMED, upstream.simple) as ours:
        port = urlsplit(ours.url).port
        assert port is not None
        with closing(Client(port)) as client:
            expected = lists(client)
    assert {answer.status for answer in expected} == {200}
    assert len(expected[0].body) > 20 * MANY
    with served(server, upstream.simple, files="redirect") as client:
        assert lists(client) == expected
