"""One request and its answer, as plain ASGI: little more than the messages themselves."""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from simple_repository_server.errors import TransferAborted
from simple_repository_server.model import NOTHING, RequestContext
from simple_repository_server.observe.events import (
    Emit,
    InternalFailure,
    ProbeFinished,
    RequestFinished,
)
from simple_repository_server.web.problems import Headers, Problem, problem_of, render_problem
from simple_repository_server.web.reply import FilePart, Reply

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_READING = ("GET", "HEAD")
#: What load balancers ask, every few seconds.
_PROBES = frozenset({"/healthz", "/readyz"})
#: How long a client may take for a part of a body under a server that does not watch over it:
#: what the answer holds meanwhile others wait for.
DEFAULT_SEND_TIMEOUT_S = 60.0
#: How much of a path and of a user agent is told: many lines may wait to be written.
MAX_TOLD = 1000


#: The extension of a server that cuts off clients which do not take what they are sent.
WATCHED = "simple_repository_server.watched"


#: Where the server notes in a message how many bytes of a file it has sent, if that fails.
SENT = "simple_repository_server.sent"
#: A function that says whether the file is still what it was when it was opened.
UNCHANGED = "simple_repository_server.unchanged"


#: The reason phrase of an answer's status line, for a server that can send one.
REASON = "simple_repository_server.reason"


class ClientGone(OSError):
    """There is nobody any more to take the answer."""


class Request:
    """What is asked for: a method, a target and headers (their names in lower case)."""

    __slots__ = (
        "context",
        "event",
        "forwarded_for",
        "headers",
        "method",
        "path",
        "query_string",
        "route",
        "user_agent",
        "variant",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query_string: bytes,
        headers: dict[bytes, bytes],
        state: Mapping[str, object] = NOTHING,
    ) -> None:
        self.method = method
        #: Decoded, and below the application, wherever that is mounted.
        self.path = path
        #: As it was sent.
        self.query_string = query_string
        self.headers = headers
        #: What components may know of the request.
        self.context = RequestContext(
            revalidate=b"no-cache" in headers.get(b"cache-control", b"").lower(),
            headers=headers,
            state=state,
        )
        #: The end of the proxies' list of those for whom they ask; "" mostly.
        self.forwarded_for = headers.get(b"x-forwarded-for", b"")[-MAX_TOLD:].decode("latin-1")
        #: What is told of it in the end.
        self.event = ProbeFinished if path in _PROBES else RequestFinished
        self.user_agent = headers.get(b"user-agent", b"")[:MAX_TOLD].decode("latin-1")
        #: What follows from the request alone, remembered by those who decided it.
        self.route: Any = None
        self.variant: Any = None

    def header(self, name: bytes) -> str:
        """A header as text; "" if there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def head(self) -> bool:
        """Whether only the headers are wanted."""
        return self.method == "HEAD"


class Exchange(Request):
    """A request, and the way to answer it.

    `status` is 0 until the answer has begun, `sent` the bytes of its body so far.
    """

    __slots__ = (
        "_receive",
        "_send",
        "_send_timeout_s",
        "root",
        "scheme",
        "scope",
        "sent",
        "status",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S,
    ) -> None:
        pairs: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(pairs)
        if len(headers) != len(pairs):
            headers = _joined(pairs)
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        if root and path.startswith(f"{root}/"):  # not so where a server leaves it out
            path = path[len(root) :]
        state = scope.get("state", NOTHING)
        super().__init__(scope["method"], path, scope["query_string"], headers, state)
        self.scope = scope
        self.root = root
        self.scheme: str = scope.get("scheme", "http")
        self._receive = receive
        self._send = send
        self._send_timeout_s = send_timeout_s
        self.status = 0
        self.sent = 0

    async def answer(self, reply: Reply) -> None:
        """Send a whole answer."""
        if reply.part is not None and not self.head:
            await self.start(reply.status, reply.headers)
            await self.send_part(reply.part)
        else:
            await self.reply(reply.status, reply.headers, reply.body)

    async def reply(
        self, status: int, headers: Headers, body: bytes = b"", *, reason: str = ""
    ) -> None:
        """Answer with all there is; the body of an answer to HEAD stays here."""
        self.status = status
        if self.method == "HEAD":
            body = b""
        self.sent = len(body)
        send = self._send
        start: Message = {"type": "http.response.start", "status": status, "headers": headers}
        if reason:
            start[REASON] = reason
        await send(start)
        await send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers; `chunk` or `send_path` must follow."""
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def chunk(self, content: bytes, *, more: bool) -> None:
        """Send a part of the body, when what was sent before has been taken.

        Raises `TransferAborted` for a client that takes nothing, unless the server cuts it off.
        """
        self.sent += len(content)
        message = {"type": "http.response.body", "body": content, "more_body": more}
        if self.is_watched:
            await self._send(message)
            return
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self._send(message)
        except TimeoutError as error:
            raise TransferAborted(
                f"The client took nothing for {self._send_timeout_s:g} s."
            ) from error

    async def send_part(self, part: FilePart) -> None:
        """Have the server send the part of a file, if it can (`sends_files`)."""
        message: Message = {
            "type": "http.response.zerocopysend",
            "file": part.file.fd,
            "offset": part.offset,
            "count": part.count,
            SENT: 0,
            UNCHANGED: part.file.is_unchanged,
        }
        try:
            await self._send(message)
        except BaseException:
            self.sent = message[SENT]
            raise
        self.sent = part.count

    @property
    def sends_files(self) -> bool:
        """Whether the server sends from descriptors (ASGI `http.response.zerocopysend`)."""
        return "http.response.zerocopysend" in self.scope.get("extensions", ())

    @property
    def is_watched(self) -> bool:
        """Whether the server sees to it that the client takes what it is sent."""
        return WATCHED in self.scope.get("extensions", ())

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[asyncio.Task[None]]:
        """A task that is done when the client has gone; some servers do not say so when sending."""
        gone = asyncio.create_task(self._until_gone())
        try:
            yield gone
        finally:
            gone.cancel()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def problem(self, problem: Problem) -> None:
        """Answer with a problem, in the form the client accepts."""
        headers, body = render_problem(problem, self.header(b"accept"))
        await self.reply(problem.status, headers, body, reason=problem.reason)

    def finished(self, duration_ms: float, error: str) -> RequestFinished:
        """What to tell of it in the end."""
        scope = self.scope
        client = scope.get("client")
        return self.event(
            method=self.method,
            path=scope["path"][:MAX_TOLD],
            status=self.status,
            bytes=self.sent,
            duration_ms=duration_ms,
            client=client[0] if client else "",
            user_agent=self.user_agent,
            error=error,
        )


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers, of which several lines with one name are one list (RFC 9110 §5.3)."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


async def answer(
    exchange: Exchange, emit: Emit, endpoint: Callable[..., Awaitable[None]], *arguments: object
) -> None:
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
    except ClientGone as error:
        cut = f"cut off: {error}"
    except asyncio.CancelledError:
        cut = "cut off: the server stopped"
        raise
    except Exception as error:
        problem = problem_of(error)
        if problem.unexpected:
            what = f"unexpected {type(error).__name__} for {exchange.scope['path']!r}"
            emit(InternalFailure(what=what, detail="".join(traceback.format_exception(error))))
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


async def misdirected(exchange: Exchange, *_: object) -> None:
    """The request was meant for another host (RFC 9110 §15.5.20)."""
    host = exchange.header(b"host")[:200]
    detail = f"This server does not answer for {host!r}; --allowed-host has it do so."
    await exchange.problem(Problem(421, detail))
