"""Whether a source answers, as its last request showed."""

from simple_repository_server.observe.events import Emit, SourceFailed, SourceRecovered


class Availability:
    """That of the source called `label`; `emit` gets an event when it fails, or recovers."""

    def __init__(self, label: str, emit: Emit) -> None:
        #: None: it was not requested yet. False: the last request failed.
        self.known: bool | None = None
        #: Why the last request failed; None if it did not.
        self.failure: str | None = None
        self._label = label
        self._emit = emit

    def report(self, failure: str | None) -> None:
        """Record why a request failed, or None for a success."""
        before, self.failure, self.known = self.failure, failure, failure is None
        if failure is not None and before is None:
            self._emit(SourceFailed(source=self._label, reason=failure))
        elif failure is None and before is not None:
            self._emit(SourceRecovered(source=self._label))
