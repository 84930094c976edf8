"""The process that was started and the worker that serves: neither outlives or waits for the other.

Signals are handled by the first one; what it has Granian do is added to where that leaves a gap.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from granian.server import Server as Granian
from typing_extensions import override


class Server(Granian):  # type: ignore[misc, valid-type, unused-ignore]
    """Granian that can be stopped while its worker still starts, and at once when told twice."""

    @override
    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        """SIGINT or SIGTERM: stop; the second time, without waiting for what runs."""
        if os.getpid() != self.pid:
            # A worker that is still starting has this handler, too: nothing runs in it yet, and
            # what comes from the keyboard goes to both, of which the first one is to act.
            if args[:1] == (signal.SIGTERM,):
                os._exit(0)
            return
        if self.interrupt_signal:
            for worker in self.wrks:
                worker.kill()
        super().signal_handler_interrupt(*args, **kwargs)


def stop_with_parent(stop_s: float) -> None:
    """Have this process stop when its parent is gone, however that came, after `stop_s` at most."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(stop_s)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def open_streams() -> None:
    """Put nothing in the place of standard streams that were closed (`2>&-`).

    Otherwise the next connection would get their number, and what is written for people with it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - for good
            setattr(sys, name, stream)
