"""What SIGHUP means: decided once, at the start."""

import os
import signal
from enum import Enum, auto


class Hangup(Enum):
    """What to do on SIGHUP."""

    #: The terminal was closed: stop as on SIGTERM.
    STOP = auto()
    #: It was sent on purpose: reopen the log file (`logrotate`), and read the configuration again.
    REOPEN = auto()
    #: There are a terminal and a configuration file: stop if the terminal is gone, else `REOPEN`.
    EITHER = auto()
    #: It was ignored at the start (`nohup`), and stays ignored.
    IGNORE = auto()


def meaning_of_hangup(*, has_config: bool = False) -> Hangup:
    """What SIGHUP means to this process and its workers."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return Hangup.IGNORE
    if not has_terminal():
        return Hangup.REOPEN
    return Hangup.EITHER if has_config else Hangup.STOP


def has_terminal() -> bool:
    """Whether the process has a terminal; it loses it when that is closed."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return False
    os.close(terminal)
    return True


def means_stop(hangup: Hangup) -> bool:
    """Whether a SIGHUP that has just come means to stop."""
    return hangup is Hangup.STOP or (hangup is Hangup.EITHER and not has_terminal())
