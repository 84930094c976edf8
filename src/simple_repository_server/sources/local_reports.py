"""What is wrong with files of a directory: said once each, and again only when it changes."""

from simple_repository_server.observe.events import Emit, Event, FileSkipped

_MAX_PATHS = 100_000


class Reports:
    """Emits at most one event in a row for the same path and reason. Threads may share it."""

    def __init__(self, label: str, emit: Emit) -> None:
        self.label = label
        self._emit = emit
        self._said: dict[str, str] = {}

    def say(self, path: str, reason: str, event: Event) -> None:
        """Emit the event, unless that reason was the last thing said of the path."""
        if self._said.get(path) == reason:
            return
        if len(self._said) >= _MAX_PATHS:
            self._said.clear()
        self._said[path] = reason
        self._emit(event)

    def skipped(self, path: str, reason: str) -> None:
        """Say that the file is not served."""
        self.say(path, reason, FileSkipped(source=self.label, file=path, reason=reason))

    def forget(self, path: str) -> None:
        """Nothing is wrong with it (any more)."""
        self._said.pop(path, None)
