"""What answers at an address: a coroutine, and a plain function for what needs no waiting."""

from collections.abc import Awaitable, Callable

import msgspec

from simple_repository_server.repository import Repository
from simple_repository_server.web.exchange import Exchange, Request
from simple_repository_server.web.reply import Reply


class Endpoint(msgspec.Struct, frozen=True):
    """`answer` answers an exchange; `peek` returns the same answer, where it needs no waiting.

    Both take the repository and what stands in the path. `peek` returns None where the answer
    needs waiting, and raises what `answer` would tell the client as a problem.
    """

    answer: Callable[..., Awaitable[None]]
    peek: Callable[..., Reply | None]


def immediate(decide: Callable[..., Reply]) -> Endpoint:
    """The endpoint of a function that never needs to wait."""

    async def answer(exchange: Exchange, repository: Repository, *arguments: object) -> None:
        await exchange.answer(decide(exchange, repository, *arguments))

    def peek(request: Request, repository: Repository, *arguments: object) -> Reply:
        return decide(request, repository, *arguments)

    return Endpoint(answer, peek)
