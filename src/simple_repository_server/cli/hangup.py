"""What SIGHUP means: decided once, at the start."""

import os
import signal
from enum import Enum, auto


class Hangup(Enum):
    """What to do on SIGHUP."""

    #: The terminal was closed: stop as on SIGTERM.
    STOP = auto()
    #: There is no terminal, so somebody sent it: open the log file again (`logrotate`).
    REOPEN = auto()
    #: It was ignored before we began (`nohup`), and stays so.
    IGNORE = auto()


def meaning_of_hangup() -> Hangup:
    """What SIGHUP means to this process and those it starts."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return Hangup.IGNORE
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return Hangup.REOPEN
    os.close(terminal)
    return Hangup.STOP
