"""The servers that are compared: nginx with the same bytes as files, ours, and the old release."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

_START_S = 30
OLD_RELEASE = "simple-repository-server==0.10.0"


def free_port() -> int:
    """A port nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Running:
    """A running server, and what it costs."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, started_s: float) -> None:
        self.process = process
        self.url = url
        #: From the start of the process to its first answer.
        self.started_s = started_s

    def memory_mb(self) -> float:
        """The proportional set size of the whole process tree, in MB."""
        return sum(_pss_kb(pid) for pid in process_tree(self.process.pid)) / 1024


@contextmanager
def running(command: list[str], url: str, log: Path, **environment: str) -> Iterator[Running]:
    """A server from its first answer until the block is left."""
    begun = time.perf_counter()
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait(lambda: process.poll() is None, url)
            yield Running(process, url, time.perf_counter() - begun)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _wait(alive: Callable[[], bool], url: str) -> None:
    parts = urlsplit(url)
    deadline = time.perf_counter() + _START_S
    while time.perf_counter() < deadline and alive():
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(parts.netloc, timeout=5)
            connection.request("GET", parts.path)
            if connection.getresponse().status < 500:
                connection.close()
                return
        time.sleep(0.005)
    raise RuntimeError(f"{url} did not answer")


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, pending = [], [pid]
    while pending:
        found.append(current := pending.pop())
        pending.extend(children.get(current, []))
    return found


def _pss_kb(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


@contextmanager
def nginx(root: Path, static: Path, upstream: Path) -> Iterator[tuple[str, str, Path]]:
    """One nginx worker: static files at the first address, the upstream at the second.

    Also the log of the upstream, with the bytes of each answer.
    """
    ports = free_port(), free_port()
    log = root / "upstream.log"
    temporary = "".join(
        f"{kind}_temp_path {root}/nginx-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (root / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
    log_format bytes '$request_uri $bytes_sent'; keepalive_requests 10000000; sendfile on;
    tcp_nopush on; {temporary}
    server {{ listen 127.0.0.1:{ports[0]}; root {static}; access_log {root}/static.log;
        gzip_static on; default_type application/octet-stream;
        location /json/ {{ index index.json; types {{ }} default_type {JSON_TYPE}; }}
        location /html/ {{ index index.html; types {{ }} default_type text/html; }} }}
    server {{ listen 127.0.0.1:{ports[1]}; root {upstream}; access_log {log} bytes;
        add_header Cache-Control max-age=600;
        location /slow/ {{ alias {upstream}/files/; limit_rate 10m; }}
        location /json/ {{ index index.json; types {{ }} default_type {JSON_TYPE}; }}
        location /html/ {{ index index.html; types {{ }} default_type text/html; }} }}
}}
""")
    static_url, upstream_url = (f"http://127.0.0.1:{port}" for port in ports)
    command = [_nginx(), "-c", str(root / "nginx.conf")]
    with running(command, f"{static_url}/", root / "nginx.out"):
        yield static_url, upstream_url, log


@contextmanager
def nginx_proxy(root: Path, upstream_url: str) -> Iterator[str]:
    """One nginx worker that passes `/pass/…` on, and keeps what comes through `/cache/…`."""
    port = free_port()
    place = root / f"proxy-{port}"
    place.mkdir()
    temporary = "".join(
        f"{kind}_temp_path {place}/temp-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid {place}/nginx.pid; error_log {place}/error.log;
events {{ worker_connections 1024; }}
http {{
    keepalive_requests 10000000; sendfile on; tcp_nopush on; access_log {place}/access.log;
    {temporary}
    proxy_cache_path {place}/cache levels=1:2 keys_zone=files:10m max_size=10g inactive=1d;
    proxy_http_version 1.1; proxy_set_header Connection "";
    upstream origin {{ server {upstream_url.removeprefix("http://")}; keepalive 64; }}
    server {{ listen 127.0.0.1:{port};
        location = / {{ return 204; }}
        location /pass/ {{ proxy_pass http://origin/; }}
        location /cache/ {{ proxy_pass http://origin/; proxy_cache files; proxy_cache_lock on;
            proxy_cache_valid 200 1d; }} }}
}}
""")
    place.chmod(0o777)
    url = f"http://127.0.0.1:{port}"
    with running([_nginx(), "-c", str(place / "nginx.conf")], f"{url}/", place / "nginx.out"):
        yield url


JSON_TYPE = "application/vnd.pypi.simple.v1+json"


def _nginx() -> str:
    found = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(found).exists():
        raise SystemExit("nginx is needed: apt-get install nginx wrk")
    return found


@contextmanager
def ours(root: Path, *arguments: str, cache: Path | None = None) -> Iterator[Running]:
    """The command of this checkout, one worker, with its logs in a file as nginx has them.

    With an empty cache folder of its own, unless one is given.
    """
    port = free_port()
    cache = cache or root / f"cache-{port}"
    command = [sys.executable, "-m", "simple_repository_server", "--port", str(port), *arguments]
    url = f"http://127.0.0.1:{port}/healthz"
    with running(command, url, root / "ours.log", XDG_CACHE_HOME=str(cache)) as server:
        server.url = f"http://127.0.0.1:{port}"
        yield server


@contextmanager
def old_release(executable: str, root: Path, *arguments: str) -> Iterator[Running]:
    """The existing release from the package index, as its own documentation starts it."""
    port = free_port()
    command = [executable, "--host", "127.0.0.1", "--port", str(port), *arguments]
    with running(command, f"http://127.0.0.1:{port}/nothing", root / "old.log") as server:
        server.url = f"http://127.0.0.1:{port}"
        yield server


def install_old_release(folder: Path) -> str:
    """The old release in an environment of its own; the path of its command."""
    command = folder / "bin" / "simple-repository-server"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = str(folder / "bin" / "pip")
        subprocess.run(
            [pip, "install", "--quiet", "--only-binary", ":all:", OLD_RELEASE], check=True
        )
    return str(command)
