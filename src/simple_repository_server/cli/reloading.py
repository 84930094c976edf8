"""Reloading the configuration in a process that answers requests, without dropping one."""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator

from simple_repository_server.cli.config_file import POLL_S, ConfigFile
from simple_repository_server.config.settings import Settings
from simple_repository_server.observe.events import Emit
from simple_repository_server.web.hosts import HostRule
from simple_repository_server.web.index import IndexApp
from simple_repository_server.web.served import Served
from simple_repository_server.wiring import Parts, build_served

#: More collections of the middle generation than there will be.
_NEVER = 1_000_000_000


class Reloader:
    """Has `app` answer by the settings in force, once they are other ones.

    `parts` are the components of what it answers by now, and `hosts` says which hosts requests may
    name under given settings.
    """

    def __init__(
        self,
        file: ConfigFile,
        app: IndexApp,
        parts: Parts,
        *,
        hosts: Callable[[Settings], HostRule | None],
        emit: Emit,
    ) -> None:
        self._file = file
        self._app = app
        self._parts = parts
        self._hosts = hosts
        self._emit = emit
        #: What `app` answers by.
        self._settings = file.settings
        self._wanted = asyncio.Event()

    def request(self) -> None:
        """Read the file again, now."""
        self._wanted.set()

    def catch_up(self) -> None:
        """Answer by the settings in force: in a new process, before it starts to serve."""
        if self._file.settings is not self._settings:
            served, self._parts = self._build(self._file.settings)
            self._app.answer_by(served)
            self._settings = self._file.settings

    async def run(self, forget: Callable[[], None], *, polls: bool) -> None:
        """Reload on request and, if it `polls`, when the file has changed; until cancelled.

        `forget` is called when requests are answered otherwise than before.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S if polls else None):
                    await self._wanted.wait()
            if self._wanted.is_set() or await asyncio.to_thread(self._file.has_changed):
                self._wanted.clear()
                await self._reload(forget)

    async def _reload(self, forget: Callable[[], None]) -> None:
        """Read the file and answer by it, or report why not. All that takes time is in a thread."""
        try:
            settings, built = await asyncio.to_thread(self._read)
            if built is not None:
                served, parts = built
                await self._app.replace(served, forget=forget)
                self._parts, self._settings = parts, settings
        except Exception as error:  # noqa: BLE001 - a component may fail to open in any way
            self._emit(self._file.refused(error))
        else:
            self._file.settings = settings
            self._emit(self._file.reloaded())

    def _read(self) -> tuple[Settings, tuple[Served, Parts] | None]:
        """The settings of the file, and what they make if they are other ones than before."""
        with _without_full_collections():
            settings = self._file.read_settings()
            built = self._build(settings) if settings != self._settings else None
            if built is not None:
                # What was made stays, so collections need not go through it. Graphs have no
                # cycles: the one before is freed by the counts of references alone.
                gc.freeze()
            return settings, built

    def _build(self, settings: Settings) -> tuple[Served, Parts]:
        parts = Parts(self._parts)
        hosts = self._hosts(settings)
        return build_served(settings, self._emit, parts=parts, hosts=hosts), parts


@contextlib.contextmanager
def _without_full_collections() -> Iterator[None]:
    """Collect only young garbage meanwhile.

    Python would go through everything again and again while 10,000 rules are being made, and each
    time all threads would have to wait for a tenth of a second.
    """
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)
