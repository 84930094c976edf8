"""Background work that nobody waits for: its failures are reported, not lost."""

import asyncio
import traceback
from collections.abc import Coroutine
from typing import Any

from simple_repository_server.errors import RepositoryError
from simple_repository_server.observe.events import Emit, InternalFailure

_CLOSE_S = 5.0


class Background:
    """Runs coroutines as tasks. An exception that is a defect is reported to `emit`.

    A `RepositoryError` is not: it was reported where it was raised.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        """Begin the work. The task never raises."""
        task = asyncio.create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Wait until everything that was begun has ended, for at most 5 seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)

    async def _run(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except RepositoryError:
            pass
        except Exception as error:  # noqa: BLE001 - of any class: nobody else will see it
            self._emit(internal_failure("work in the background failed", error))


def internal_failure(what: str, error: BaseException) -> InternalFailure:
    """The event for an exception that is a defect, with its traceback."""
    detail = "".join(traceback.format_exception(error))
    return InternalFailure(what=f"{what} ({type(error).__name__})", detail=detail)
