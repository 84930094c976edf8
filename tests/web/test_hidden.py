"""What a client gets for what a rule hides: the sentence, or the answer for what does not exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from simple_repository_server import build_router, create_app
from simple_repository_server.errors import RuleUnavailable
from simple_repository_server.model import SourceState
from simple_repository_server.observe.audit_log import AuditLog
from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.web.index import IndexApp
from tests.asgi import ask, running
from tests.hiding import REASON, Hiding
from tests.web.hostile import Client
from tests.web.lane import get, on_socket

pytestmark = pytest.mark.anyio
OLD, NEW = build_wheel("foo", "1.0"), build_wheel("foo", "2.0")
FILE = f"/resources/foo/{NEW.filename}"


def _source() -> MemoryRepository:
    source = MemoryRepository()
    for wheel in (OLD, NEW):
        source.add(wheel.filename, wheel.content, metadata=b"Metadata-Version: 2.1\n")
    return source


def _apps(repository: Hiding) -> list[Any]:
    routed = FastAPI()
    routed.include_router(build_router(repository))
    return [IndexApp(repository), create_app(repository), routed]


async def _received(app: Any, *requests: bytes) -> bytes:
    async with on_socket(app) as server, Client(server.port) as client:
        await client.send(b"".join(requests))
        client.half_close()
        return await client.read_all()


@pytest.mark.parametrize("target", [FILE, f"{FILE}.metadata", FILE.replace("/foo/", "/Foo/")])
@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json"])
async def test_a_hidden_file_answers_403_with_the_sentence(target: str, accept: str) -> None:
    """Its body is the rule's sentence, in each form, under each spelling, in each application."""
    for app in _apps(Hiding(_source(), NEW.filename)):
        answer = await ask(app, target, headers={"Accept": accept})
        assert answer.status == 403
        assert REASON in answer.text
        assert answer.headers["cache-control"] == "no-store"


async def test_the_sentence_is_the_reason_phrase_of_our_server() -> None:
    """Installers show the reason phrase and no body, so the sentence is there, for HEAD, too."""
    app = IndexApp(Hiding(_source(), NEW.filename))
    received = await _received(app, get(FILE), get(FILE, method="HEAD"), get("/healthz"))
    first = f"HTTP/1.1 403 {REASON}\r\n".encode()
    assert received.startswith(first)
    assert received.count(first) == 2
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 1


async def test_a_sentence_cannot_end_the_status_line() -> None:
    """Control characters and other scripts in an operator's reason do no harm; it is cut off."""
    reason = f"bad\r\nSet-Cookie: a=b\x00 — \u202e{'x' * 1000}"
    received = await _received(IndexApp(Hiding(_source(), NEW.filename, reason=reason)), get(FILE))
    line = received.partition(b"\r\n")[0]
    assert line.startswith(b"HTTP/1.1 403 bad  Set-Cookie: a=b  ? ?xxx")
    assert len(line) < 350
    assert b"\r\nSet-Cookie" not in received.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json"])
async def test_what_is_concealed_answers_as_what_does_not_exist(accept: str) -> None:
    """A concealed project or file answers byte for byte as an unknown one but for its name."""
    absent = build_wheel("foo", "3.0").filename
    pairs = [
        ("/simple/bar/", "/simple/baz/"),
        ("/resources/bar/bar-1.0.tar.gz", "/resources/baz/baz-1.0.tar.gz"),
        (FILE, f"/resources/foo/{absent}"),
        (f"{FILE}.metadata", f"/resources/foo/{absent}.metadata"),
    ]
    app = IndexApp(Hiding(_source(), "bar", NEW.filename, conceal=True))
    for concealed, unknown in pairs:
        for method in ("GET", "HEAD"):
            lines = (get(path, f"Accept: {accept}", method=method) for path in (concealed, unknown))
            received = [await _received(app, line) for line in lines]
            one, other = [re.sub(rb"date: [^\r]*", b"", text) for text in received]
            assert one.startswith(b"HTTP/1.1 404 Not Found\r\n")
            assert one.replace(b"bar", b"baz").replace(b"-2.0", b"-3.0") == other


async def test_the_audit_log_names_the_file_and_the_index(tmp_path: Path) -> None:
    """Also of a project that is hidden as a whole, and under the address of the default index."""
    index, log = Hiding(_source(), "bar", NEW.filename), tmp_path / "audit.jsonl"
    async with running(IndexApp(index, indexes={"team": index}, audit=AuditLog(log))) as app:
        for path in ("/resources/bar/bar-1.0.tar.gz", f"/team{FILE}.metadata", "/simple/bar/"):
            assert (await ask(app, path)).status == 403
    found = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["project"], one["file"], one["index"]) for one in found] == [
        ("bar", "bar-1.0.tar.gz", "team"),
        ("foo", f"{NEW.filename}.metadata", "team"),
        ("bar", "", "team"),
    ]


async def test_a_rule_that_cannot_be_evaluated_answers_503() -> None:
    """The answer names the rule and the reason, and when to try again."""
    error = RuleUnavailable("advisories", "the folder is missing")
    for app in _apps(Hiding(_source(), error=error)):
        for path in ("/simple/foo/", FILE):
            answer = await ask(app, path)
            assert answer.status == 503
            assert answer.text == (
                "The rule advisories cannot be evaluated: the folder is missing.\n"
            )
            assert answer.headers["retry-after"] == "1"


async def test_readyz_names_the_rule_that_cannot_be_evaluated() -> None:
    """One such rule is enough not to be ready: what it might hide is refused."""
    state = SourceState(label="advisories", kind="rule", available=False, detail="it is missing")
    fine = SourceState(label="deny", kind="rule", available=True)
    answer = await ask(IndexApp(Hiding(_source(), states=(fine, state))), "/readyz")
    assert answer.status == 503
    assert answer.json() == {
        "status": "not ready",
        "sources": [{"source": "memory", "kind": "memory", "state": "available", "detail": ""}],
        "rules": [
            {"rule": "deny", "state": "available", "detail": ""},
            {"rule": "advisories", "state": "unavailable", "detail": "it is missing"},
        ],
    }
    assert (await ask(IndexApp(Hiding(_source(), states=(fine,))), "/readyz")).status == 200
