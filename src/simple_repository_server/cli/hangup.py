"""What SIGHUP means: decided once, at the start."""

import os
import signal
from enum import Enum, auto


class Hangup(Enum):
    """What to do on SIGHUP."""

    #: The terminal was closed: stop as on SIGTERM.
    STOP = auto()
    #: There is no terminal, so it was sent on purpose: reopen the log file (`logrotate`).
    REOPEN = auto()
    #: It was ignored at the start (`nohup`), and stays ignored.
    IGNORE = auto()


def meaning_of_hangup() -> Hangup:
    """What SIGHUP means to this process and its workers."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return Hangup.IGNORE
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return Hangup.REOPEN
    os.close(terminal)
    return Hangup.STOP
