"""Asking an ASGI application without a server, message by message."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

JSON = "application/vnd.pypi.simple.v1+json"


class Response(msgspec.Struct):
    """What the application sent."""

    status: int
    headers: dict[str, str]
    body: bytes
    #: Sent by path instead of as bytes.
    path: str | None = None
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
    pathsend: bool = False,
) -> Response:
    """One request; `pathsend` if the server is to be able to send files by path."""
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
        "extensions": {"http.response.pathsend": {}} if pathsend else {},
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
            for name, value in message["headers"]:
                text = value.decode()
                known = response.headers.get(name.decode())
                response.headers[name.decode()] = f"{known}, {text}" if known else text
        elif message["type"] == "http.response.pathsend":
            response.path = message["path"]
        else:
            response.body += message.get("body", b"")

    try:
        await app(scope, receive, send)
    except Exception:
        if not response.status:
            raise
        response.cut = True
    return response


async def _forever() -> None:
    import asyncio

    await asyncio.Event().wait()


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[Any]:
    """The application between start-up and shut-down, as a server would run it."""
    async with app.router.lifespan_context(app):
        yield app
