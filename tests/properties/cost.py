"""What reading costs: how work grows with the size of a text, and how much memory is taken."""

import subprocess
import sys
import time
from collections.abc import Callable

_FLOOR_S = 0.002


def growth(work: Callable[[int], object], size: int) -> float:
    """How much more processor time four times the size takes; small times count as equal."""

    def cost_s(of: int) -> float:
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            work(of)
            best = min(best, time.process_time() - began)
        return max(best, _FLOOR_S)

    return cost_s(4 * size) / cost_s(size)


#: The peak is that of the process' own memory; resource usage knows the highest of its parent, too.
_MEASURED = """
from pathlib import Path
from simple_repository_server.errors import Malformed
from simple_repository_server.names import ProjectName
from simple_repository_server.wire import pages
def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
text = {text}
read = lambda body: {read}
read(b"<a href=x>" if b"<" in text[:9] else b'{{"files":[{{}}],"projects":[{{}}]}}')
Path("/proc/self/clear_refs").write_text("5")
before = peak()
try:
    read(text)
except Malformed:
    pass
print(peak() - before, len(text))
"""
PAGE = "pages.read_page(body, {media!r}, project=ProjectName('foo'), base='https://x.example/foo/')"
LIST = "pages.read_list(body, {media!r})"


def memory_taken(text: str, read: str, media: str) -> tuple[int, int]:
    """How many bytes reading takes at its peak, in a process of its own, and of how many.

    `text` is a Python expression, `read` is `PAGE` or `LIST`.
    """
    script = _MEASURED.format(text=text, read=read.format(media=media))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    taken, size = map(int, done.stdout.split())
    return taken, size
