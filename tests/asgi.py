"""Asking an ASGI application without a server, message by message, and the other way by a peek."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from simple_repository_server.errors import RepositoryError
from simple_repository_server.web.exchange import Request
from simple_repository_server.web.index import IndexApp
from simple_repository_server.web.problems import problem_of, render_problem
from simple_repository_server.web.reply import Head, Reply

JSON = "application/vnd.pypi.simple.v1+json"


class Response(msgspec.Struct):
    """What the application sent."""

    status: int
    headers: dict[str, str]
    body: bytes
    #: The application raised after it had begun to answer: a server cuts the connection then.
    cut: bool = False

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


async def ask(
    app: Any,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    sends_files: bool = False,
) -> Response:
    """One request; `sends_files` if the server is to be able to (ASGI Zero Copy Send).

    What the application has at hand then (`IndexApp.peek`) has to be the same answer.
    """
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "extensions": {"http.response.zerocopysend": {}} if sends_files else {},
        "state": {},
    }
    response = Response(0, {}, b"")
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await _forever()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            response.status = message["status"]
            response.headers = _joined(message["headers"])
        elif message["type"] == "http.response.zerocopysend":
            response.body += os.pread(message["file"], message["count"], message["offset"])
        else:
            response.body += message.get("body", b"")

    try:
        await app(scope, receive, send)
    except Exception:
        if not response.status:
            raise
        response.cut = True
    index = getattr(getattr(app, "router", None), "default", app)
    if isinstance(index, IndexApp) and not response.cut:
        _compare(index, scope, response)
    return response


def _compare(index: IndexApp, scope: dict[str, Any], response: Response) -> None:
    """What the index says to the same request without waiting, if anything, is the response."""
    if scope["method"] not in {"GET", "HEAD"}:
        return
    request = Request(scope["method"], scope["path"], scope["query_string"], dict(scope["headers"]))
    try:
        reply = index.peek(request)
    except RepositoryError as error:
        problem = problem_of(error)
        headers, body = render_problem(problem, request.header(b"accept"))
        reply = Reply(Head(problem.status, headers), body)
    if reply is None:
        return
    body = reply.body
    if reply.part is not None:
        body = os.pread(reply.part.file.fd, reply.part.count, reply.part.offset)
    assert reply.status == response.status
    assert _timeless(_joined(reply.headers)) == _timeless(response.headers)
    assert (b"" if request.head else body) == response.body


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        known, text = headers.get(name.decode()), value.decode()
        headers[name.decode()] = f"{known}, {text}" if known else text
    return headers


def _timeless(headers: dict[str, str]) -> dict[str, str]:
    """The headers without the seconds, of which one may have gone by."""
    return {**headers, "age": re.sub(r"\d+", "", headers.get("age", "none"))}


async def _forever() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[Any]:
    """The application between start-up and shut-down, as a server would run it."""
    if not isinstance(app, IndexApp):
        async with app.router.lifespan_context(app):
            yield app
        return
    messages: asyncio.Queue[Any] = asyncio.Queue()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    living = asyncio.create_task(app({"type": "lifespan"}, messages.get, sent.put))
    messages.put_nowait({"type": "lifespan.startup"})
    assert (await sent.get())["type"] == "lifespan.startup.complete"
    try:
        yield app
    finally:
        messages.put_nowait({"type": "lifespan.shutdown"})
        await living
