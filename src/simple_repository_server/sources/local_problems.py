"""Problems with files of a directory, each reported once, and again when the reason changes."""

from simple_repository_server.observe.events import Emit, Event, FileSkipped

_MAX_PATHS = 100_000


class Problems:
    """Emits no event twice in a row for the same path and reason. Threads may share it."""

    def __init__(self, label: str, emit: Emit) -> None:
        self.label = label
        self._emit = emit
        self._reported: dict[str, str] = {}

    def report(self, path: str, reason: str, event: Event) -> None:
        """Emit the event, unless that reason was the last one reported for the path."""
        if self._reported.get(path) == reason:
            return
        if len(self._reported) >= _MAX_PATHS:
            self._reported.clear()
        self._reported[path] = reason
        self._emit(event)

    def skipped(self, path: str, reason: str) -> None:
        """Report that the file is not served."""
        self.report(path, reason, FileSkipped(source=self.label, file=path, reason=reason))

    def resolved(self, path: str) -> None:
        """The path has no problem (any more): the next one is reported."""
        self._reported.pop(path, None)
