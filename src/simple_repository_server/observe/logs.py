"""Events as lines on a stream, for people or for machines.

A thread writes them, so that a full pipe or a slow terminal never delays a request.
"""

import json
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

import msgspec
from typing_extensions import override

from simple_repository_server.errors import RepositoryError
from simple_repository_server.observe.events import (
    DigestProgress,
    Event,
    InternalFailure,
    RequestFinished,
)
from simple_repository_server.observe.log_file import LogFile
from simple_repository_server.observe.server_events import LogLinesDropped, LogReopened
from simple_repository_server.observe.terminal import printable

if TYPE_CHECKING:
    from simple_repository_server.observe.progress import ProgressBars


class LogFormat(StrEnum):
    """How events are written."""

    #: A line for people.
    TEXT = "text"
    #: One JSON object a line, for machines.
    JSON = "json"


class LogLevel(StrEnum):
    """How important an event is, the least important first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LEVELS = tuple(level.value for level in LogLevel)
_LABELS = {"debug": "", "info": "", "warning": "WARNING: ", "error": "ERROR: "}
_FLUSH_S = 0.02
#: How many texts of requests are remembered, of up to some kB each.
_MAX_REQUEST_TEXTS = 512
#: Lines waiting to be written; beyond that, new ones are counted and dropped.
_MAX_WAITING = 50_000
#: How long `close` waits for the last lines: a pipe without a reader never takes them.
_CLOSE_S = 0.4
#: Descriptors (stdout) that are reopened with the log if they are the same file.
_ALSO = (1,)


class LogWriter:
    """Writes events of at least `level` to `stream`; call it with each event."""

    def __init__(self, stream: TextIO, *, form: str = "text", level: str = "info") -> None:
        self._file = LogFile(stream, also=_ALSO)
        self._format = formatter(form, level)
        self._levels = levels_from(level)
        self._stream = stream
        #: None until the first progress event. Only a terminal has bars.
        self._progress: ProgressBars | None = None
        self._shows_progress = form == "text" and stream.isatty()
        self._waiting: deque[str | DigestProgress | None] = deque()
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def __call__(self, event: Event) -> None:
        """Format the event now; it is written within milliseconds."""
        if event.level in self._levels:
            line = self._format(event, time.time())
            if self._thread is not None and len(self._waiting) < _MAX_WAITING:
                self._waiting.append(line)  # as `_put` does, without its call
            else:
                self._put(line)
        if self._shows_progress and isinstance(event, DigestProgress):
            self._put(event)

    def reopen(self) -> None:
        """Write later lines to the file that has the log's name now (after a rotation)."""
        self._put(None)
        self(LogReopened())

    def _put(self, item: str | DigestProgress | None) -> None:
        if len(self._waiting) >= _MAX_WAITING and item is not None:
            self._dropped += 1
            return
        self._waiting.append(item)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="log", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write the waiting lines, within a bounded time."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _write(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(_FLUSH_S)
            lines: list[str] = []
            while self._waiting:
                item = self._waiting.popleft()
                if isinstance(item, str):
                    lines.append(item)
                elif item is None:
                    self._write_lines(lines)
                    self._file.reopen()
                    lines = []
                else:
                    self._show(item)
            if self._dropped:
                lines.append(self._format(LogLinesDropped(count=self._dropped), time.time()))
                self._dropped = 0
            self._write_lines(lines)
        if self._progress is not None:
            self._progress.close()

    def _write_lines(self, lines: list[str]) -> None:
        if lines:
            text = "\n".join(lines) + "\n"
            if self._progress is None or not self._progress.write(text):
                self._file.write(text.encode("utf-8", "replace"))

    def _show(self, event: DigestProgress) -> None:
        if self._progress is None:
            from simple_repository_server.observe.progress import ProgressBars  # slow to import

            self._progress = ProgressBars(self._stream)
        self._progress.update(event)


class ThreadlessLog:
    """Writes events like `LogWriter`, but at once: for a process that must not have threads.

    A line for which a full pipe has no space is dropped.
    """

    def __init__(self, stream: TextIO, *, form: str = "text", level: str = "info") -> None:
        self._file = LogFile(stream, also=_ALSO)
        self._format = formatter(form, level)
        self._levels = levels_from(level)

    def __call__(self, event: Event) -> None:
        """Write the event."""
        if event.level in self._levels:
            line = self._format(event, time.time()) + "\n"
            self._file.write_at_once(line.encode("utf-8", "replace"))

    def reopen(self) -> None:
        """Write later lines to the file that has the log's name now (after a rotation)."""
        self._file.reopen()


def levels_from(level: str) -> frozenset[str]:
    """The level and those above it."""
    return frozenset(LEVELS[LEVELS.index(level) :])


def formatter(form: str, level: str) -> Callable[[Event, float], str]:
    """A function from an event and its time (since the epoch) to its line, without a newline."""
    return _JsonLines() if form == "json" else _TextLines(with_detail=level == "debug")


class _TextLines:
    """Events as lines for people: local time and its zone (RFC 3339, with a space).

    With `with_detail` tracebacks follow in indented lines.
    """

    def __init__(self, *, with_detail: bool) -> None:
        self._with_detail = with_detail
        self._second = 0
        self._clock = ""
        self._request_texts = RequestTexts()

    def __call__(self, event: Event, now: float) -> str:
        if not self._second <= now < self._second + 1:
            self._second = int(now)
            self._clock = datetime.fromtimestamp(self._second, UTC).astimezone().isoformat(" ")
        if isinstance(event, RequestFinished):
            return f"{self._clock} {self._request_texts(event)}"
        line = printable(f"{self._clock} {_LABELS[event.level]}{event.text()}")
        if self._with_detail and isinstance(event, InternalFailure) and event.detail:
            line = "\n".join([line, *(f"    {printable(n)}" for n in event.detail.splitlines())])
        return line


class RequestTexts:
    """Requests as text: all but the duration is the same for many, and made once."""

    def __init__(self) -> None:
        self._parts: dict[tuple[object, ...], tuple[str, str]] = {}

    def __call__(self, event: RequestFinished) -> str:
        """The printable text of the event, the same as `event.text()`."""
        key = (
            event.path,
            event.user_agent,
            event.client,
            event.status,
            event.bytes,
            event.method,
            event.cache,
            event.error,
        )
        parts = self._parts.get(key)
        if parts is None:
            before, after = event.around_duration()
            parts = printable(before), printable(after)
            if not event.error:  # of any length, and hardly ever the same again
                if len(self._parts) >= _MAX_REQUEST_TEXTS:
                    self._parts.clear()
                self._parts[key] = parts
        return f"{parts[0]}{event.duration_ms:.1f}{parts[1]}"


class _JsonLines:
    """Events as JSON objects, one per line: UTC with milliseconds (RFC 3339)."""

    def __init__(self) -> None:
        self._second = 0
        self._clock = ""

    def __call__(self, event: Event, now: float) -> str:
        second = int(now)
        if second != self._second:
            self._second = second
            self._clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        fields = msgspec.to_builtins(event, enc_hook=str)  # for subclasses of `str`
        kind = fields.pop("type")
        clock = f"{self._clock}.{int((now - second) * 1000):03d}Z"
        line = {"time": clock, "level": event.level, "event": kind, **fields}
        try:
            return msgspec.json.encode(line).decode()
        except UnicodeEncodeError:  # a name that is not valid UTF-8
            return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace").decode()


class StandardLogging(logging.Handler):
    """Passes warnings and errors of libraries (the HTTP server, the HTTP client) to `write`.

    Errors of our own (`RepositoryError`) are left out, as the line of their request has them; and
    so are cancelled tasks.
    """

    def __init__(self, write: Callable[[Event], None]) -> None:
        super().__init__(logging.WARNING)
        self._write = write

    @override
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, RepositoryError) or not isinstance(error, Exception | None):
            return
        what = f"{record.name}: {record.getMessage().rstrip()}"
        if error is None:
            self._write(InternalFailure(what=what))
        else:
            detail = "".join(traceback.format_exception(error))
            self._write(
                InternalFailure(what=f"{what} ({type(error).__name__}: {error})", detail=detail)
            )
