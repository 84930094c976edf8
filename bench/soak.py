"""A soak: clients, a lying upstream, killed processes, a small cache. Nothing may be wrong.

    python -m bench.soak --minutes 60

Every answer with status 200 must have the right bytes, every file in the cache its own digest,
at any time; in the end, with a sound upstream, everything must be served.
"""

import argparse
import contextlib
import hashlib
import http.client
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bench.servers import Running, free_port, running
from simple_repository_server.testing.distributions import Built, build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream

_PROJECTS, _CLIENTS, _WORKERS = 80, 8, 2
_CACHE_SIZE, _CACHE_BYTES = "20MB", 20_000_000
#: What is in use stays; with nobody asking, the budget has to be kept by then.
_REST_S = 45
_KILL_EVERY_S = (8.0, 20.0)


class Soak:
    """What is served, who asks for it, and what came of that."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        self.wheels = [
            build_wheel(
                f"soak{number}",
                files={"data.bin": dice.randbytes(int(dice.lognormvariate(12, 1.5)) % 4_000_000)},
                compressed=False,
            )
            for number in range(_PROJECTS)
        ]
        self.results: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.memory_mb: list[float] = []
        self.lies = True
        self.stop = threading.Event()
        self.server: Running | None = None

    def publish(self, upstream: Upstream) -> None:
        """Have the upstream serve all of it, and lie about the files."""
        publish_json(upstream, self.wheels, max_age=2)
        for built in self.wheels:
            path = f"/files/{built.sha256[:2]}/{built.filename}"
            upstream.on(path, self._script(built))

    def _script(self, built: Built) -> "_Liar":
        return _Liar(self, built)

    def client(self, seed: int) -> None:
        """One client: pages, metadata and files, until told to stop."""
        dice = random.Random(seed)
        while not self.stop.is_set():
            server = self.server
            if server is None:
                time.sleep(0.05)
                continue
            built = self.wheels[min(int(dice.paretovariate(0.7)) - 1, _PROJECTS - 1)]
            self.ask(server, built)

    def ask(self, server: Running, built: Built) -> bool:
        """Ask for everything of one project; whether all of it came."""
        project = built.filename.partition("-")[0]
        file = f"/resources/{project}/{built.filename}"
        complete = True
        for kind, target, expected in (
            ("page", f"/simple/{project}/", None),
            ("metadata", f"{file}.metadata", built.metadata),
            ("file", file, built.content),
        ):
            status, body = _get(server.url, target)
            self.results[f"{kind} {status or 'cut'}"] += 1
            complete &= status == 200
            if status == 200 and expected is not None and body != expected:
                self.wrong.append(f"{target}: {len(body)} bytes")
        return complete


class _Liar:
    """A file at an upstream that often does not work."""

    def __init__(self, soak: Soak, built: Built) -> None:
        self._soak = soak
        self._built = built

    def __call__(self, _: Request) -> Reply:
        content = self._built.content
        whole = Reply(body=content, ranges=True, headers={"ETag": f'"{self._built.sha256}"'})
        if not self._soak.lies or random.random() < 0.7:
            return whole
        place = random.randrange(len(content))
        return random.choice([
            Reply(body=content, stop_after=place, ranges=True),
            Reply(body=content[:place] + b"!" + content[place + 1 :]),
            Reply(body=content, piece_delay_s=0.05, ranges=True),
            Reply(status=503), Reply(reset=True), Reply(hang_up=True),
            Reply(body=content[:place], length=-1), Reply(body=content + b"!", length=-1),
        ])  # fmt: skip


def _get(url: str, target: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    with contextlib.closing(connection):
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""


@contextlib.contextmanager
def _server(root: Path, upstream: Upstream) -> Iterator[Running]:
    port = free_port()
    command = [
        sys.executable, "-m", "simple_repository_server", "--port", str(port),
        "--workers", str(_WORKERS), "--files", "cache", "--cache-dir", str(root / "index"),
        "--cache-size", _CACHE_SIZE, "--log-level", "warning", upstream.simple,
    ]  # fmt: skip
    environment = {"XDG_CACHE_HOME": str(root)}
    log = root / f"server-{port}.log"
    with running(command, f"http://127.0.0.1:{port}/healthz", log, **environment) as server:
        server.url = f"http://127.0.0.1:{port}"
        yield server


def _unsound(folder: Path) -> list[str]:
    """The files of the cache that are not what their names say."""
    found: list[str] = []
    for path in (folder / "files").rglob("*"):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest != path.parent.name + path.name:
                found.append(str(path))
    return found


def _lives(soak: Soak, root: Path, upstream: Upstream, until: float) -> int:
    """One life of the server after another, until then; how many there were."""
    dice = random.Random()
    lives = 0
    while time.monotonic() < until:
        with _server(root, upstream) as server:
            lives += 1
            soak.server = server
            time.sleep(min(dice.uniform(*_KILL_EVERY_S), max(0.1, until - time.monotonic())))
            soak.memory_mb.append(server.memory_mb())
            soak.server = None
            os.killpg(server.process.pid, signal.SIGKILL)
        soak.wrong += _unsound(root / "index")
    return lives


def main() -> int:
    """Soak, and say what came of it; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    soak = Soak(options.seed)
    with tempfile.TemporaryDirectory() as place, Upstream() as upstream:
        root = Path(place)
        soak.publish(upstream)
        clients = [
            threading.Thread(target=soak.client, args=(number,), daemon=True)
            for number in range(_CLIENTS)
        ]
        for client in clients:
            client.start()
        lives = _lives(soak, root, upstream, time.monotonic() + options.minutes * 60)
        soak.stop.set()
        for client in clients:
            client.join()
        soak.lies = False
        with _server(root, upstream) as server:
            time.sleep(1)
            missing = [built.filename for built in soak.wheels if not soak.ask(server, built)]
            time.sleep(_REST_S)
        soak.wrong += _unsound(root / "index")
        size = sum(p.stat().st_size for p in (root / "index").rglob("*") if p.is_file())
        left = len(list((root / "index" / "partial").glob("*")))
    if size > _CACHE_BYTES:
        soak.wrong.append(f"the cache has {size} bytes")
    for result, count in sorted(soak.results.items()):
        print(f"{result:20} {count:10,}")
    print(f"server lives {lives}, memory of {_WORKERS} workers at their ends "
          f"{min(soak.memory_mb):.0f} to {max(soak.memory_mb):.0f} MB")  # fmt: skip
    print(f"cache {size / 1e6:.1f} MB of {_CACHE_SIZE}, {left} partial files left")
    print(f"wrong: {soak.wrong[:5] or 'nothing'}; missing at the end: {missing[:5] or 'nothing'}")
    return 1 if soak.wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
