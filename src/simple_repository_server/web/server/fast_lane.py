"""The fast lane: requests whose answer needs no waiting are answered where they are parsed.

There is no task and no ASGI message: a plain method of the application (`IndexApp.peek`) returns
the answer. An unusual request, or one that has to wait, goes the ordinary way to the same answer.
"""

import traceback
from time import perf_counter
from typing import Protocol

from simple_repository_server.errors import RepositoryError
from simple_repository_server.observe.events import Emit, InternalFailure
from simple_repository_server.web.audit import Audit, audit_request
from simple_repository_server.web.exchange import MAX_LOGGED, Receive, Request, Scope, Send
from simple_repository_server.web.reply import Reply
from simple_repository_server.web.server.heads import parse_target

_METHODS = {b"GET": "GET", b"HEAD": "HEAD"}
#: Requests with these headers go the ordinary way.
_UNUSUAL = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
#: Requests with these headers are not remembered.
_SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
#: How many requests are remembered.
_MAX_SEEN = 1024
#: Longer requests are not remembered.
_MAX_RAW = 2048
#: What a remembered request takes in memory beside copies of its bytes.
_SEEN_BYTES = 2000
#: How often its bytes are in memory: whole, and in the parsed parts.
_SEEN_COPIES = 4


class Peeks(Protocol):
    """An ASGI application that has answers without waiting."""

    emit: Emit
    #: The budget for remembered requests, in bytes.
    request_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the ordinary way (ASGI)."""

    def peek(self, request: Request) -> Reply | None:
        """The answer if it needs no waiting."""


class FastLane:
    """Answers of `app` that need no waiting, and the events of their requests."""

    def __init__(self, app: Peeks) -> None:
        self._app = app
        self._emit = app.emit
        #: Records what is handed out; an application need not have one.
        self._audit: Audit | None = getattr(app, "audit", None)
        #: Requests by their bytes: the same bytes are the same request. First those of any client,
        #: then those of trusted proxies, whose `X-Forwarded-…` headers count.
        self.seen: tuple[dict[bytes, Request], dict[bytes, Request]] = {}, {}
        self._bytes = 0

    def request(self, method: bytes, target: bytes, headers: dict[bytes, bytes]) -> Request | None:
        """The request, if it may be answered here; None else. Raises as `parse_target`."""
        name = _METHODS.get(method)
        if name is None or not _UNUSUAL.isdisjoint(headers):
            return None
        # Not in absolute form, nor longer than what is logged of it.
        if target[:1] != b"/" or len(target) > MAX_LOGGED:
            return None
        path, query = parse_target(target)
        request = Request(name, path, query, headers)
        return None if request.context.revalidate else request

    def remember(self, raw: bytes, request: Request, *, of_proxy: bool = False) -> None:
        """Remember the request by its bytes, within the budget."""
        if len(raw) > _MAX_RAW or not _SECRET.isdisjoint(request.headers):
            return
        weight = _SEEN_BYTES + _SEEN_COPIES * len(raw)
        count = len(self.seen[0]) + len(self.seen[1])
        if count >= _MAX_SEEN or self._bytes + weight > self._app.request_bytes:
            self.forget()
        seen = self.seen[of_proxy]
        if raw not in seen and weight <= self._app.request_bytes:
            self._bytes += weight
            seen[raw] = request

    def forget(self) -> None:
        """Forget all requests, with the repositories by which they were answered."""
        self.seen[0].clear()
        self.seen[1].clear()
        self._bytes = 0

    def peek(self, request: Request) -> Reply | None:
        """The answer, or None if the request has to go the ordinary way."""
        try:
            again = request.again
            reply = self._app.peek(request) if again is None else again(request)
            # A head that cannot be sent is found out here.
            if reply is None or reply.sent or reply.head.sent or reply.head.lines:
                return reply
        except RepositoryError:
            pass  # the ordinary way answers with the problem
        except Exception as error:  # noqa: BLE001 - the outermost edge
            what = f"unexpected {type(error).__name__} in the fast lane for {request.path!r}"
            self._emit(
                InternalFailure(what=what, detail="".join(traceback.format_exception(error)))
            )
        return None

    def finished(
        self, request: Request, status: int, started: float, client: str, sent: int, error: str = ""
    ) -> None:
        """Emit the event of a request whose answer was begun at `started` (`perf_counter`)."""
        event = request.event(
            method=request.method,
            path=request.path,
            status=status,
            bytes=sent,
            duration_ms=(perf_counter() - started) * 1000,
            client=client,
            user_agent=request.user_agent,
            cache=request.cache,
            error=error,
        )
        self._emit(event)
        if self._audit is not None and request.audited is not None:
            audit_request(self._audit, request, event)
