"""The parent of several workers: it starts them, replaces those that die, and stops them.

It has no event loop and no threads, so it may fork at any time. It waits on two descriptors: Python
writes the number of each signal to one, and each worker a byte to the other when it is ready.
"""

import math
import os
import random
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from simple_repository_server.cli.config_file import POLL_S, ConfigFile
from simple_repository_server.cli.hangup import Hangup, means_stop
from simple_repository_server.cli.worker import CUT, RELOAD, START_FAILED, Worker
from simple_repository_server.observe.events import InternalFailure
from simple_repository_server.observe.logs import ThreadlessLog
from simple_repository_server.observe.server_events import WorkerReplaced

#: A worker that ran for longer is replaced at once when it dies.
_STABLE_S = 10.0
#: The backoff before a worker that died early is replaced: at first, and at most.
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 2.0
#: What a worker may take to stop, beyond the time for its requests.
_END_S = 1.9
#: What a worker may take to stop once its requests are cut off.
_CUT_S = 1.0
#: The exit status of a worker that raised (`EX_SOFTWARE`).
_CRASHED = 70
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, CUT, RELOAD)


class _Slot:
    """The place of a worker: what outlives each process in it."""

    def __init__(self, listener: socket.socket) -> None:
        #: Stays open when a worker dies: its successor answers the connections that wait in it.
        self.listener = listener
        self.pid = 0
        self.started = 0.0
        #: When to start the next worker; infinity: not now.
        self.start_at = math.inf
        self.deaths = 0
        #: The process ID of the one to replace, and why it ended.
        self.died: tuple[int, str] | None = None


class Supervisor:
    """Runs one worker for each listening socket. `on_ready` is called when the first is ready."""

    def __init__(
        self,
        worker: Worker,
        listeners: Sequence[socket.socket],
        log: ThreadlessLog,
        *,
        hangup: Hangup,
        shutdown_timeout_s: float,
        on_ready: Callable[[], None],
        file: ConfigFile | None = None,
    ) -> None:
        self._worker = worker
        #: Read here first: workers read only what is valid, and new ones have what is in force.
        self._file = file
        self._look_at = math.inf if file is None else 0.0
        self._slots = [_Slot(listener) for listener in listeners]
        self._log = log
        self._hangup = hangup
        self._shutdown_timeout_s = shutdown_timeout_s
        self._on_ready = on_ready
        self._ready = False
        self._stopping = False
        self._kill_at = math.inf
        self._status = 0
        self._alive, self._alive_end = os.pipe()
        self._readiness, self._readiness_end = os.pipe()
        self._wakeup, self._wakeup_end = socket.socketpair()
        self._poll = select.poll()

    def run(self) -> int:
        """Run until stopped; returns the exit status: 1 if no worker could start."""
        self._receive_signals()
        # Only one at first: what keeps it from starting would keep all, and is logged once.
        self._slots[0].start_at = 0
        while not self._stopping or any(slot.pid for slot in self._slots):
            for slot in self._slots:
                if not self._stopping and slot.start_at <= time.monotonic():
                    self._start(slot)
            self._wait()
        return self._status

    def _receive_signals(self) -> None:
        self._wakeup.setblocking(False)
        self._wakeup_end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_end.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, _do_nothing)
        if self._hangup is not Hangup.IGNORE:
            signal.signal(signal.SIGHUP, _do_nothing)
        self._poll.register(self._wakeup, select.POLLIN)
        self._poll.register(self._readiness, select.POLLIN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _wait(self) -> None:
        """Wait for the next signal, readiness or deadline, and act on it."""
        next_at = min(self._kill_at, self._look_at, *(slot.start_at for slot in self._slots))
        wait_ms = max(0, next_at - time.monotonic()) * 1000
        found = self._poll.poll(None if wait_ms == math.inf else math.ceil(wait_ms))
        if any(descriptor == self._readiness for descriptor, _ in found):
            self._first_is_ready()
        for number in self._received():
            if number in {signal.SIGTERM, signal.SIGINT}:
                self._stop()
            elif number == signal.SIGHUP:
                self._hang_up()
        for slot in self._slots:
            if slot.pid:
                self._reap(slot)
        if time.monotonic() >= self._look_at and self._file is not None:
            self._look_at = time.monotonic() + POLL_S
            if self._file.has_changed():
                self._reload(self._file)
        if time.monotonic() >= self._kill_at:
            self._send(signal.SIGKILL)
            self._kill_at = math.inf

    def _received(self) -> bytes:
        """The numbers of the pending signals."""
        try:
            return self._wakeup.recv(4096)
        except BlockingIOError:
            return b""

    def _first_is_ready(self) -> None:
        self._ready = True
        self._poll.unregister(self._readiness)
        self._on_ready()
        if not self._stopping:
            for slot in self._slots[1:]:
                slot.start_at = 0

    def _hang_up(self) -> None:
        if not means_stop(self._hangup):
            self._log.reopen()
            self._send(signal.SIGHUP)
            if self._file is not None:
                self._reload(self._file)
        elif not self._stopping:
            self._stop()

    def _reload(self, file: ConfigFile) -> None:
        """Have the workers reload the configuration, if it is valid."""
        try:
            file.settings = file.read_settings()
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the workers go on
            self._log(file.refused(error))
        else:
            self._send(RELOAD)

    def _stop(self) -> None:
        """Stop all workers; the second time without waiting for their requests."""
        if self._stopping:
            self._send(CUT)
            self._kill_at = min(self._kill_at, time.monotonic() + _CUT_S)
            return
        self._stopping = True
        for slot in self._slots:
            slot.start_at = math.inf
            slot.listener.close()
        self._send(signal.SIGTERM)
        self._kill_at = time.monotonic() + self._shutdown_timeout_s + _END_S

    def _send(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.pid:
                os.kill(slot.pid, number)

    def _reap(self, slot: _Slot) -> None:
        """If the worker has died, schedule its replacement."""
        pid, status = os.waitpid(slot.pid, os.WNOHANG)
        if not pid:
            return
        slot.pid = 0
        if self._stopping:
            return
        code = os.waitstatus_to_exitcode(status)
        if not self._ready:
            if code != START_FAILED:
                self._log(InternalFailure(what=f"cannot start: the worker died ({_reason(code)})"))
            self._status = 1
            self._stop()
            return
        now = time.monotonic()
        if now - slot.started >= _STABLE_S:
            slot.deaths = 0
        slot.start_at = now + restart_delay(slot.deaths, random.random())  # noqa: S311 - jitter
        slot.deaths += 1
        slot.died = (pid, _reason(code))

    def _start(self, slot: _Slot) -> None:
        slot.start_at = math.inf
        # No signal may reach the new process before it has its own handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:
            slot.start_at = time.monotonic() + _MAX_DELAY_S
            self._log(InternalFailure(what=f"cannot start a worker: {error.strerror}"))
        else:
            if not pid:
                self._be_worker(slot)
            slot.pid, slot.started = pid, time.monotonic()
            if slot.died:
                dead, reason = slot.died
                self._log(WorkerReplaced(pid=dead, reason=reason, replacement=pid))
                slot.died = None
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _be_worker(self, slot: _Slot) -> NoReturn:
        """Run the worker in the new process, and end it."""
        status = _CRASHED
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._wakeup.close()
            self._wakeup_end.close()
            # Only the parent holds this end: when it ends, the other end is closed.
            os.close(self._alive_end)
            for other in self._slots:
                if other is not slot:
                    other.listener.close()
            status = self._worker.run_below(self._alive, slot.listener, self._report_ready)
        except BaseException:  # noqa: BLE001 - nothing may run the code of the parent
            traceback.print_exc()
        finally:
            os._exit(status)

    def _report_ready(self) -> None:
        if not self._ready:
            os.write(self._readiness_end, b"!")


def restart_delay(deaths: int, random_part: float) -> float:
    """Seconds until a worker is replaced, after `deaths` early deaths in a row.

    The first is replaced at once. Then the backoff doubles from 0.1 to 2 seconds, of which jitter
    (`random_part`, 0 to 1) takes up to half away, so that workers do not all fail at once.
    """
    if not deaths:
        return 0
    longest: float = min(_MAX_DELAY_S, _FIRST_DELAY_S * 2 ** min(deaths - 1, 10))
    return longest * (1 + random_part) / 2


def _reason(code: int) -> str:
    return f"status {code}" if code >= 0 else f"signal {-code}: {signal.strsignal(-code)}"


def _do_nothing(number: int, frame: object) -> None:
    """Handle a signal: Python writes its number to the descriptor, and that is all it takes."""
