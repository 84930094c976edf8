"""One request and its answer, as plain ASGI: little more than the messages themselves."""

import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from simple_repository_server.model import NO_CONTEXT, RequestContext
from simple_repository_server.observe.events import Emit, RequestFinished, Trouble
from simple_repository_server.web.problems import Headers, Problem, problem_of, render_problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_READING = ("GET", "HEAD")
_REVALIDATE = RequestContext(revalidate=True)


class Exchange:
    """A request, and the way to answer it.

    `status` is 0 until the answer has begun, `sent` the bytes of its body so far.
    """

    __slots__ = ("_receive", "_send", "headers", "method", "scope", "sent", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        pairs: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers = dict(pairs)
        if len(self.headers) != len(pairs):
            self.headers = _joined(pairs)
        self._receive = receive
        self._send = send
        self.status = 0
        self.sent = 0

    def header(self, name: bytes) -> str:
        """A request header (its name in lower case) as text; "" if there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def path(self) -> str:
        """The path below the application, wherever that is mounted."""
        path: str = self.scope["path"]
        root = self.scope.get("root_path")
        return path.removeprefix(root) if root else path

    @property
    def query(self) -> str:
        """The query, as it was sent."""
        return str(self.scope["query_string"].decode("latin-1"))

    @property
    def head(self) -> bool:
        """Whether only the headers are wanted."""
        return self.method == "HEAD"

    @property
    def context(self) -> RequestContext:
        """What components may know of the request."""
        asks = b"no-cache" in self.headers.get(b"cache-control", b"")
        return _REVALIDATE if asks else NO_CONTEXT

    async def reply(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Answer with all there is; the body of an answer to HEAD stays here."""
        self.status = status
        if self.method == "HEAD":
            body = b""
        self.sent = len(body)
        send = self._send
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers; `chunk` or `send_path` must follow."""
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def chunk(self, content: bytes, *, more: bool) -> None:
        """Send a part of the body."""
        self.sent += len(content)
        await self._send({"type": "http.response.body", "body": content, "more_body": more})

    async def send_path(self, path: str, size: int) -> None:
        """Have the server send a file of that size, if it can (`sends_paths`)."""
        self.sent = size
        await self._send({"type": "http.response.pathsend", "path": path})

    @property
    def sends_paths(self) -> bool:
        """Whether the server sends files by their path (ASGI `http.response.pathsend`)."""
        return "http.response.pathsend" in self.scope.get("extensions", ())

    async def until_gone(self) -> None:
        """Wait until the client has gone away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def problem(self, problem: Problem) -> None:
        """Answer with a problem, in the form the client accepts."""
        headers, body = render_problem(problem, self.header(b"accept"))
        await self.reply(problem.status, headers, body)

    def finished(self, duration_ms: float, error: str) -> RequestFinished:
        """What to tell of it in the end."""
        scope = self.scope
        client = scope.get("client")
        return RequestFinished(
            method=self.method,
            path=scope["path"],
            status=self.status,
            bytes=self.sent,
            duration_ms=duration_ms,
            client=client[0] if client else "",
            user_agent=self.header(b"user-agent"),
            error=error,
        )


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers, of which several lines with one name are one list (RFC 9110 §5.3)."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


Endpoint = Callable[..., Awaitable[None]]


async def answer(exchange: Exchange, emit: Emit, endpoint: Endpoint, *arguments: object) -> None:
    """Let the endpoint answer; where it fails instead, answer with the problem. Tell `emit`.

    Once the answer has begun there is no way to take it back: the error goes on to the server,
    which cuts the connection, so that nobody takes what they have for all there is.
    """
    started = time.perf_counter()
    cut = ""
    try:
        if exchange.method in _READING:
            await endpoint(exchange, *arguments)
        else:
            detail = f"{exchange.method[:20]} is not possible here, only GET and HEAD."
            await exchange.problem(Problem(405, detail, ((b"allow", b"GET, HEAD"),)))
    except Exception as error:
        problem = problem_of(error)
        if problem.unexpected:
            what = f"unexpected {type(error).__name__} for {exchange.scope['path']!r}"
            emit(Trouble(what=what, detail="".join(traceback.format_exception(error))))
        if exchange.status:
            cut = f"cut off: {problem.detail}"
            raise
        await exchange.problem(problem)
    finally:
        duration_ms = (time.perf_counter() - started) * 1000
        emit(exchange.finished(duration_ms, cut))


async def not_found(exchange: Exchange, *_: object) -> None:
    """There is nothing at this path."""
    path = exchange.scope["path"][:200]
    await exchange.problem(Problem(404, f"There is nothing at {path!r}; see '/' for what is."))
