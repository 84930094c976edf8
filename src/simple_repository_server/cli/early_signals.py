"""Signals while the command starts, before there is anything to stop."""

import os
import signal
from types import FrameType
from typing import Any

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_before: dict[signal.Signals, Any] = {}


def stop_at_once() -> None:
    """From now on SIGTERM and SIGINT end the process with status 0, as they do later.

    Imports take a tenth of a second or more, in which SIGTERM would kill Python and SIGINT print a
    traceback. Ignored signals stay ignored. SIGHUP is blocked until its meaning is known
    (`hangup.py`): it would kill Python even where it means to reopen the log.
    """
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            _before[number] = signal.signal(number, _stop)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))


def as_before() -> None:
    """Restore the handlers: for a command that has something to finish."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))
    while _before:
        signal.signal(*_before.popitem())


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    os._exit(0)
