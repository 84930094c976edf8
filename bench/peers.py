"""Other caching indexes, installed from PyPI into environments of their own: proxpi and devpi."""

import base64
import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from bench.servers import Running, free_port, running

_FOLDER = Path(__file__).parent / ".peers"
#: As many threads as clients, which is devpi's default as well.
_THREADS = 50


def _install(name: str, *requirements: str) -> Path | None:
    """The programs of its environment; None, with a message, where it cannot be installed."""
    place = _FOLDER / name
    if not (place / "done").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
            subprocess.run(
                [place / "bin" / "python", "-m", "pip", "install", "-q", *requirements], check=True
            )
        except subprocess.CalledProcessError as error:
            print(f"{name} is not compared, as it cannot be installed: {error}", file=sys.stderr)
            return None
        (place / "done").touch()
    return place / "bin"


@contextmanager
def proxpi(root: Path, index: str) -> Iterator[tuple[Running, str] | None]:
    """A running proxpi over the index, and the address of its own; None if there is none."""
    programs = _install("proxpi", "proxpi", "gunicorn")
    if programs is None:
        yield None
        return
    port = free_port()
    url = f"http://127.0.0.1:{port}/index/"
    line = [str(programs / "gunicorn"), "--bind", f"127.0.0.1:{port}", "--threads", str(_THREADS),
            "--access-logfile", str(root / "proxpi-access.log"), "proxpi.server:app"]  # fmt: skip
    environment = {
        "PROXPI_INDEX_URL": index, "PROXPI_CACHE_DIR": str(root / "proxpi"),
        "PROXPI_INDEX_TTL": "3600",
    }  # fmt: skip
    with running(line, f"http://127.0.0.1:{port}/", root / "proxpi.log", **environment) as server:
        yield server, url


@contextmanager
def devpi(root: Path, index: str) -> Iterator[tuple[Running, str] | None]:
    """A running devpi with a mirror of the index, and its address; None if there is none."""
    programs = _install("devpi", "devpi-server")
    if programs is None:
        yield None
        return
    port, place = free_port(), str(root / "devpi")
    init = [str(programs / "devpi-init"), "--serverdir", place, "--no-root-pypi"]
    subprocess.run(init, check=True, capture_output=True)
    line = [str(programs / "devpi-server"), "--serverdir", place, "--port", str(port),
            "--threads", str(_THREADS)]  # fmt: skip
    with running(line, f"http://127.0.0.1:{port}/+api", root / "devpi.log") as server:
        url = f"http://127.0.0.1:{port}"
        token = _json(f"{url}/+login", "POST", {"user": "root", "password": ""})
        login = f"root:{token['result']['password']}"
        mirror = {"type": "mirror", "mirror_url": index, "mirror_cache_expiry": 3600}
        headers = {"X-Devpi-Auth": base64.b64encode(login.encode()).decode()}
        _json(f"{url}/root/farm", "PUT", mirror, headers)
        yield server, f"{url}/root/farm/+simple/"


#: A server that is running over an index, and the address to put names of projects behind.
Peer = Callable[[Path, str], AbstractContextManager[tuple[Running, str] | None]]
PEERS: dict[str, Peer] = {"proxpi": proxpi, "devpi": devpi}


def _json(
    url: str, method: str, body: object, headers: dict[str, str] | None = None
) -> dict[str, dict[str, str]]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    sent = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
    connection.request(method, parts.path, json.dumps(body), sent)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    if response.status >= 300:
        raise RuntimeError(f"{method} {url}: {response.status}, {text[:300]!r}")
    found: dict[str, dict[str, str]] = json.loads(text)
    return found
