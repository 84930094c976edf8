"""What answers at paths of one shape, and what a client gets when that fails."""

import asyncio
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple, Protocol

from simple_repository_server.errors import HiddenByRule
from simple_repository_server.observe.events import Emit, InternalFailure
from simple_repository_server.repository import Repository
from simple_repository_server.web.audit import Audit, audit_request
from simple_repository_server.web.exchange import ClientGone, Exchange, Request
from simple_repository_server.web.problems import Problem, problem_of
from simple_repository_server.web.reply import Reply

_METHODS = ("GET", "HEAD")


class PathNames(NamedTuple):
    """The names in the path of a request: decoded, and not checked yet."""

    project: str = ""
    file: str = ""


class Endpoint(Protocol):
    """Answers GET and HEAD requests whose paths have one shape."""

    async def answer(self, exchange: Exchange, repository: Repository, names: PathNames) -> None:
        """Send the answer. An exception that is raised before it has begun becomes a problem."""

    def peek(self, request: Request, repository: Repository, names: PathNames) -> Reply | None:
        """The same answer where it needs no waiting, else None.

        Raises what `answer` raises. It may set `request.again`, which then stands in for it when
        the same request is made again.
        """


class Immediate:
    """The endpoint of a pure function, which never needs to wait."""

    def __init__(self, decide: Callable[[Request, Repository, PathNames], Reply]) -> None:
        self._decide = decide

    async def answer(self, exchange: Exchange, repository: Repository, names: PathNames) -> None:
        """Send what the function returns."""
        await exchange.answer(self._decide(exchange, repository, names))

    def peek(self, request: Request, repository: Repository, names: PathNames) -> Reply:
        """What the function returns."""
        return self._decide(request, repository, names)


class NotFoundEndpoint:
    """Nothing is at the path (404), for the reason in `text`."""

    def __init__(self, text: str = "") -> None:
        self._text = text

    async def answer(self, exchange: Exchange, repository: Repository, names: PathNames) -> None:
        """Send the problem, in the form the client accepts."""
        del repository, names
        path = exchange.scope["path"][:200]
        text = self._text or f"There is nothing at {path!r}; see '/' for what is."
        await exchange.problem(Problem(404, text))

    def peek(self, request: Request, repository: Repository, names: PathNames) -> None:
        """Problems are sent by the coroutine alone."""
        del request, repository, names


class MisdirectedEndpoint:
    """The request is for another host (421, RFC 9110 §15.5.20)."""

    async def answer(self, exchange: Exchange, repository: Repository, names: PathNames) -> None:
        """Send the problem, in the form the client accepts."""
        del repository, names
        host = exchange.header(b"host")[:200]
        detail = f"This server does not answer for {host!r}; --allowed-host has it do so."
        await exchange.problem(Problem(421, detail))

    def peek(self, request: Request, repository: Repository, names: PathNames) -> None:
        """Problems are sent by the coroutine alone."""
        del request, repository, names


async def answer(
    exchange: Exchange,
    emit: Emit,
    endpoint: Endpoint,
    repository: Repository,
    names: PathNames = PathNames(),  # noqa: B008 - immutable
    *,
    audit: Audit | None = None,
) -> None:
    """Let the endpoint answer; where it fails, answer with the problem. Emits the request's event.

    `audit` is given the record of a request that hands out a file, or for what a rule hides.

    An answer that has begun cannot be replaced: the exception is passed to the server, which cuts
    the connection, so that no client takes a part for the whole.
    """
    started = time.perf_counter()
    cut = ""
    try:
        if exchange.method in _METHODS:
            await endpoint.answer(exchange, repository, names)
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
        if isinstance(error, HiddenByRule):
            exchange.audited = error
        if problem.unexpected:
            what = f"unexpected {type(error).__name__} for {exchange.scope['path']!r}"
            emit(InternalFailure(what=what, detail="".join(traceback.format_exception(error))))
        if exchange.status:
            cut = f"cut off: {problem.detail}"
            raise
        await exchange.problem(problem)
    finally:
        duration_ms = (time.perf_counter() - started) * 1000
        finished = exchange.finished(duration_ms, cut)
        emit(finished)
        if audit is not None and exchange.audited is not None:
            audit_request(audit, exchange, finished, file=names.file)
