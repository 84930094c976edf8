"""Starting the process that reads changed records, and its report."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from simple_repository_server.advisories.reading import Report

#: How long one reading may take.
_DEADLINE_S = 900.0
_POLL_S = 0.1
_MAIN = """
import json, sys
arguments = json.loads(sys.argv[1])
sys.path[:] = arguments["modules"]
from simple_repository_server.advisories.reading import main
main(arguments)
"""


class ReadingFailed(Exception):
    """The process ended without a report; the message says why."""


def read_in_process(source: Path, database: Path, stop: threading.Event) -> Report | None:
    """Bring the database up to date in a process of its own, and wait for it; blocks.

    None if `stop` was set: the process was ended. Raises `ReadingFailed`.
    """
    arguments = {"source": str(source), "database": str(database), "modules": sys.path}
    try:
        process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-P", "-c", _MAIN, json.dumps(arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise ReadingFailed(f"no process can be started ({error})") from error
    with process:
        try:
            output = _output(process, stop)
        finally:
            if process.poll() is None:
                process.kill()
    return None if output is None else msgspec.json.decode(output, type=Report)


def _output(process: subprocess.Popen[bytes], stop: threading.Event) -> bytes | None:
    deadline = time.monotonic() + _DEADLINE_S
    while not stop.is_set():
        try:
            output, errors = process.communicate(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise ReadingFailed(f"it took longer than {_DEADLINE_S:g} s") from None
            continue
        if process.returncode:
            last = errors.decode(errors="replace").strip().rpartition("\n")[2]
            raise ReadingFailed(last or f"its process ended with status {process.returncode}")
        return output
    return None
