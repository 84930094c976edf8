"""nginx, as it is compared: static files with `open_file_cache`, an upstream, and a proxy."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.servers import JSON_TYPE, Running, free_port, running

#: Where the static server sends those who ask for /redirect; as long as an address at PyPI.
REDIRECT_TARGET = "https://files.example/packages/" + "0123456789abcdef" * 5 + "/small-1.0.whl"
_CONNECTIONS = 20_480


class Nginx(msgspec.Struct, frozen=True):
    """A running nginx: the static files at one address, the upstream at another."""

    server: Running
    static_url: str
    upstream_url: str
    #: One line an upstream request: path and bytes sent.
    upstream_log: Path


def program() -> str:
    """Where nginx is; exits if it is nowhere."""
    found = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(found).exists():
        raise SystemExit("nginx is needed: apt-get install nginx wrk")
    return found


@contextmanager
def nginx(root: Path, static: Path, upstream: Path, *, workers: int = 1) -> Iterator[Nginx]:
    """An nginx with the static files of one folder, and the upstream in another."""
    ports = free_port(), free_port()
    place = _place(root, ports[0])
    log = place / "upstream.log"
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    text = f"""{_main(place, workers)}
http {{
    log_format bytes '$request_uri $bytes_sent'; {_common(place)}
    server {{ listen 127.0.0.1:{ports[0]} backlog=4096; root {static};
        access_log {place}/static.log;
        open_file_cache max=10000 inactive=60s; open_file_cache_valid 1s;
        gzip_static on; default_type application/octet-stream;
        location = /redirect {{ return 302 {REDIRECT_TARGET}; }}
        location /zstd/ {{ gzip_static off; add_header Content-Encoding zstd;
            location /zstd/json/ {{ {_index("json", JSON_TYPE)} }}
            location /zstd/html/ {{ {_index("html", "text/html")} }} }}
        location /json/ {{ {_index("json", JSON_TYPE)} }}
        location /html/ {{ {_index("html", "text/html")} }} }}
    server {{ listen 127.0.0.1:{ports[1]}; root {upstream}; access_log {log} bytes;
        add_header Cache-Control max-age=600;
        location /slow/ {{ alias {upstream}/files/; limit_rate 10m; }}
        location /json/ {{ {_index("json", JSON_TYPE)} }}
        location /html/ {{ {_index("html", "text/html")} }} }}
}}
"""
    with _started(place, text, f"{urls[0]}/redirect") as server:
        yield Nginx(server, urls[0], urls[1], log)


@contextmanager
def nginx_proxy(root: Path, upstream_url: str) -> Iterator[Running]:
    """An nginx that passes `/pass/…` on, and keeps what comes through `/cache/…`."""
    port = free_port()
    place = _place(root, port)
    text = f"""{_main(place, 1)}
http {{
    {_common(place)} access_log {place}/access.log;
    proxy_cache_path {place}/cache levels=1:2 keys_zone=files:10m max_size=10g inactive=1d;
    proxy_http_version 1.1; proxy_set_header Connection "";
    upstream origin {{ server {upstream_url.removeprefix("http://")}; keepalive 64; }}
    server {{ listen 127.0.0.1:{port};
        location = / {{ return 204; }}
        location /pass/ {{ proxy_pass http://origin/; }}
        location /cache/ {{ proxy_pass http://origin/; proxy_cache files; proxy_cache_lock on;
            proxy_cache_valid 200 1d; }} }}
}}
"""
    with _started(place, text, f"http://127.0.0.1:{port}/") as server:
        yield server


def _place(root: Path, port: int) -> Path:
    place = root / f"nginx-{port}"
    place.mkdir()
    place.chmod(0o777)  # the worker is another user
    return place


def _main(place: Path, workers: int) -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return (
        f"worker_processes {workers}; worker_rlimit_nofile {limit}; daemon off; "
        f"pid {place}/nginx.pid; error_log {place}/error.log; "
        f"events {{ worker_connections {_CONNECTIONS}; }}"
    )


def _common(place: Path) -> str:
    temporary = "".join(
        f"{kind}_temp_path {place}/temp-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        "keepalive_requests 10000000; keepalive_timeout 600s; sendfile on; tcp_nopush on; "
        + temporary
    )


def _index(form: str, media_type: str) -> str:
    return f"index index.{form}; types {{ }} default_type {media_type};"


@contextmanager
def _started(place: Path, text: str, url: str) -> Iterator[Running]:
    (place / "nginx.conf").write_text(text)
    with running([program(), "-c", str(place / "nginx.conf")], url, place / "output") as server:
        server.url = url.rpartition("/")[0]
        yield server
