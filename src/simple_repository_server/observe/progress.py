"""Progress bars on the terminal while many files are read."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from simple_repository_server.observe.events import DigestProgress

#: Shorter work ends before anyone could read the bar.
_SHOW_AFTER_S = 1.0
_COLUMNS = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()


@contextmanager
def byte_bar(stream: TextIO, text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal while the block runs; call the yielded function with each byte count.

    Lines printed to the same terminal appear above it.
    """
    with Progress(
        *_COLUMNS,
        console=Console(file=stream),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=False,
    ) as progress:
        bar = progress.add_task(text, total=total)
        yield lambda count: progress.advance(bar, count)


class ProgressBars:
    """One bar for each directory, shown from its second second on until it is done.

    Not thread-safe: the log's thread owns it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}

    def update(self, event: DigestProgress) -> None:
        """Show the progress."""
        begun = self._begun.setdefault(event.source, time.monotonic())
        if event.done_files == event.files:
            self._finish(event.source)
        elif time.monotonic() - begun > _SHOW_AFTER_S:
            progress = self._progress or self._start()
            bar = self._bars.get(event.source)
            if bar is None:
                text = f"digests of {event.source}"
                bar = self._bars[event.source] = progress.add_task(text, total=event.bytes)
            progress.update(bar, completed=event.done_bytes)

    def write(self, text: str) -> bool:
        """Print text above the bars; False if there are none."""
        if self._progress is None:
            return False
        self._console.print(
            text, end="", markup=False, emoji=False, highlight=False, soft_wrap=True
        )
        return True

    def close(self) -> None:
        """Remove the bars and restore the cursor."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start(self) -> Progress:
        self._progress = Progress(*_COLUMNS, console=self._console, transient=True)
        self._progress.start()
        return self._progress

    def _finish(self, source: str) -> None:
        self._begun.pop(source, None)
        bar = self._bars.pop(source, None)
        if self._progress is not None and bar is not None:
            self._progress.remove_task(bar)
            if not self._bars:
                self.close()
