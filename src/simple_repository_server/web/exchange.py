"""One request and its answer as plain ASGI: a thin layer over the messages."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from simple_repository_server.errors import HiddenByRule, TransferAborted
from simple_repository_server.model import NOTHING, RequestContext
from simple_repository_server.observe.events import ProbeFinished, RequestFinished
from simple_repository_server.web.problems import Headers, Problem, render_problem
from simple_repository_server.web.reply import FilePart, Reply

if TYPE_CHECKING:
    from simple_repository_server.web.audit import HandedOut
    from simple_repository_server.web.render import Variant

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

#: What load balancers request every few seconds.
_PROBES = frozenset({"/healthz", "/readyz"})
#: How long a client may take for a part of a body under a server without such a deadline: others
#: may be waiting for what the answer holds.
DEFAULT_SEND_TIMEOUT_S = 60.0
#: How much of a path and of a user agent is logged: many lines may wait to be written.
MAX_LOGGED = 1000
#: The extension of a server that cuts off clients which do not take what they are sent.
WATCHED = "simple_repository_server.watched"
#: Where the server records in a message how many bytes of a file it has sent, if that fails.
SENT = "simple_repository_server.sent"
#: A function that returns whether the file is unchanged since it was opened.
UNCHANGED = "simple_repository_server.unchanged"
#: The reason phrase of an answer's status line, for a server that can send one.
REASON = "simple_repository_server.reason"


class ClientGone(OSError):
    """The client closed the connection before it had the answer."""


class Request:
    """A request: its method, target and headers (their names in lower case)."""

    __slots__ = (
        "again",
        "audited",
        "cache",
        "context",
        "event",
        "forwarded_for",
        "head",
        "headers",
        "if_none_match",
        "index",
        "method",
        "path",
        "query_string",
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
        #: Whether only the headers are requested.
        self.head = method == "HEAD"
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
        self.if_none_match = headers.get(b"if-none-match", b"").decode("latin-1")
        #: The end of the proxies' list of the clients they forward for; mostly "".
        self.forwarded_for = headers.get(b"x-forwarded-for", b"")[-MAX_LOGGED:].decode("latin-1")
        #: The class of the event that reports it.
        self.event = ProbeFinished if path in _PROBES else RequestFinished
        self.user_agent = headers.get(b"user-agent", b"")[:MAX_LOGGED].decode("latin-1")
        #: The name of the index it is for; "" for the default one where it is not named.
        self.index = ""
        #: The verdict of the cache on what was answered; "" if no cache was used.
        self.cache = ""
        #: Answers the same request when it is made again; set by the endpoint that found the way.
        self.again: Callable[[Request], Reply | None] | None = None
        #: The name of the index it is for.
        self.index = ""
        #: What the audit log records of it: the file it hands out, or the rule that hid what it is
        #: for; None for any other request.
        self.audited: HandedOut | HiddenByRule | None = None
        #: The form and coding that were negotiated; None before.
        self.variant: Variant | None = None

    def header(self, name: bytes) -> str:
        """A header as text; "" if there is none."""
        return self.headers.get(name, b"").decode("latin-1")


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
        if root and path.startswith(f"{root}/"):  # some servers leave it out
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
        """Send a whole answer; to HEAD without its body."""
        self.status = status
        if self.head:
            body = b""
        self.sent = len(body)
        send = self._send
        start: Message = {"type": "http.response.start", "status": status, "headers": headers}
        if reason:
            start[REASON] = reason
        await send(start)
        await send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers; `send_chunk` or `send_part` must follow."""
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send_chunk(self, content: bytes, *, more: bool) -> None:
        """Send a part of the body once the parts before have been taken.

        Raises `TransferAborted` after the send timeout, unless the server has one of its own.
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
                f"The client received nothing for {self._send_timeout_s:g} s."
            ) from error

    async def send_part(self, part: FilePart) -> None:
        """Have the server send the part of a file; only where it can (`sends_files`)."""
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
        """Whether the server cuts off a client that does not take what it is sent."""
        return WATCHED in self.scope.get("extensions", ())

    @asynccontextmanager
    async def watch_disconnect(self) -> AsyncIterator[asyncio.Task[None]]:
        """A task that is done when the client disconnects: not all servers raise on sending."""
        disconnected = asyncio.create_task(self._until_disconnect())
        try:
            yield disconnected
        finally:
            disconnected.cancel()

    async def _until_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def problem(self, problem: Problem) -> None:
        """Answer with a problem, in the form the client accepts."""
        headers, body = render_problem(problem, self.header(b"accept"))
        await self.reply(problem.status, headers, body, reason=problem.reason)

    def finished(self, duration_ms: float, error: str) -> RequestFinished:
        """The event that reports it."""
        scope = self.scope
        client = scope.get("client")
        return self.event(
            method=self.method,
            path=scope["path"][:MAX_LOGGED],
            status=self.status,
            bytes=self.sent,
            duration_ms=duration_ms,
            client=client[0] if client else "",
            user_agent=self.user_agent,
            cache=self.cache,
            error=error,
        )


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers, with several lines of one name joined to a list (RFC 9110 §5.3)."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers
