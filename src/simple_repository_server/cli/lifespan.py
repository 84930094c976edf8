"""The application's start and end (ASGI lifespan), for Uvicorn."""

import asyncio
from typing import Any

import uvicorn

from simple_repository_server.web.exchange import Message


class Lifespan:
    """Starts and stops the application; unlike Uvicorn's own, it logs nothing.

    If the application cannot start, `should_exit` is true and `failure` is the reason. It has the
    interface that `uvicorn.Server` expects.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        self._app: Any = config.loaded_app
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}
        self.should_exit = False
        self.failure = ""

    async def startup(self) -> None:
        """Start the application; returns when it has started or failed."""
        self._task = asyncio.create_task(self._run())
        await self._request("lifespan.startup")
        self.should_exit = bool(self.failure)

    async def shutdown(self) -> None:
        """Stop the application; returns when it has stopped."""
        if self._task is not None and not self._task.done():
            await self._request("lifespan.shutdown")

    async def _request(self, kind: str) -> None:
        self._answered.clear()
        self._events.put_nowait({"type": kind})
        await self._answered.wait()

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._events.get, self._send)
        except Exception as error:  # noqa: BLE001 - an application may fail in any way
            self.failure = self.failure or str(error) or type(error).__name__
        finally:
            self._answered.set()

    async def _send(self, message: Message) -> None:
        if message["type"].endswith(".failed"):
            self.failure = message.get("message") or "it gave no reason"
        self._answered.set()
