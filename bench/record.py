"""Record the requests of the real uv and pip of this environment: `python -m bench.record`.

They run against our command on loopback, through a proxy that only hands bytes on, and become
`bench/traces/<name>.json`.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from bench.farm import WANTED, publish_farm
from bench.nginx import nginx
from bench.servers import free_port, ours
from bench.traced import FOLDER, Request, Trace

#: The headers that a cache may answer differently for; others say nothing but who asks.
_HEADERS = ("accept", "accept-encoding", "cache-control", "range", "user-agent")
_TARGET = re.compile(
    r"/(?:simple/(?P<page>[^/]+)/|resources/(?P<project>[^/]+)/\S+?(?P<metadata>\.metadata)?)"
)
_HEAD_END = b"\r\n\r\n"


class _Recorded(msgspec.Struct):
    """A request as the proxy saw it: when it came, and when the last byte of its answer did."""

    head: bytes
    begun: float
    done: float = 0.0


class _Recorder:
    """A proxy that hands bytes on, both ways, and remembers the heads of requests."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = parts.hostname, parts.port
        self.seen: list[_Recorded] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand on one connection; a client sends the next request when the last is answered."""
        theirs, ours = await asyncio.open_connection(*self._upstream)
        current: list[_Recorded] = []

        async def answers() -> None:
            while data := await theirs.read(1 << 20):
                current[-1].done = time.perf_counter()
                writer.write(data)
            writer.close()

        answering = asyncio.create_task(answers())
        try:
            while head := await reader.readuntil(_HEAD_END):
                current.append(_Recorded(head, time.perf_counter()))
                self.seen.append(current[-1])
                ours.write(head)
        except (asyncio.IncompleteReadError, ConnectionError):
            ours.close()
        await answering


def _request(recorded: _Recorded, earlier: list[_Recorded]) -> Request:
    lines = recorded.head.decode("latin-1").split("\r\n")
    _, target, _ = lines[0].split(" ")
    given = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    found = _TARGET.fullmatch(target)
    assert found, target
    kind = "page" if found["page"] else "metadata" if found["metadata"] else "file"
    answered = [one.done for one in earlier if one.done < recorded.begun]
    ready = max([*answered, *(one.begun for one in earlier[-1:])], default=recorded.begun)
    headers = {name: given[name] for name in _HEADERS if name in given}
    headers["user-agent"] = headers["user-agent"].split(" ")[0]
    return Request(
        kind, found["page"] or found["project"], headers, after=len(answered),
        pause_ms=round((recorded.begun - ready) * 1000),
        conditional="if-none-match" in given,
    )  # fmt: skip


async def _record(
    url: str, port: int, command: list[str], environment: Mapping[str, str]
) -> list[Request]:
    recorder = _Recorder(url)
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", port, limit=1 << 20)
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    if await process.wait():
        raise RuntimeError(f"{command} ended with {process.returncode}")
    server.close()
    seen = sorted(recorder.seen, key=lambda one: one.begun)
    return [_request(one, seen[:place]) for place, one in enumerate(seen)]


def _commands(place: Path, index_url: str) -> dict[str, list[str]]:
    """By name; `…-again` does the same with the cache that the one before it has filled."""
    place.mkdir()
    wanted = place / "requirements.in"
    wanted.write_text("\n".join(WANTED))
    index = ["-q", "--default-index", index_url, "--cache-dir"]
    pip = ["-q", "-i", index_url, "--no-cache-dir", "--only-binary", ":all:", "-r", str(wanted)]
    commands = {
        "uv-compile": ["uv", "pip", "compile", *index, str(place / "compile-cache"), str(wanted)],
        "uv-compile-again": ["uv", "pip", "compile", "--refresh", *index,
                             str(place / "compile-cache"), str(wanted)],
        "uv-install": ["uv", "pip", "install", *index, str(place / "install-cache"), "--no-build",
                       "--target", str(place / "uv"), "-r", str(wanted)],
        "pip-lock": ["pip", "lock", *pip, "-o", str(place / "pylock.toml")],
        "pip-install": ["pip", "install", *pip, "--target", str(place / "pip")],
    }  # fmt: skip
    return {name: [sys.executable, "-m", *command] for name, command in commands.items()}


def main() -> None:
    """Record each client once, through a warm cache."""
    with tempfile.TemporaryDirectory() as home:
        place = Path(home)
        place.chmod(0o755)
        upstream = place / "upstream"
        publish_farm(upstream)
        environment = {"UV_NO_CONFIG": "1", "PIP_CONFIG_FILE": os.devnull,
                       "PIP_DISABLE_PIP_VERSION_CHECK": "1", "HOME": home}  # fmt: skip
        with (
            nginx(place, upstream, upstream) as static,
            ours(place, "--files", "cache", f"{static.upstream_url}/json/") as server,
        ):
            port = free_port()  # of the proxy: the same each time, as caches go by addresses
            for turn in ("warm-up", "recorded"):
                commands = _commands(place / turn, f"http://127.0.0.1:{port}/simple/")
                for name, command in commands.items():
                    requests = asyncio.run(_record(server.url, port, command, environment))
                    trace = Trace(name, requests[0].headers["user-agent"], requests)
                    (FOLDER / f"{name}.json").write_bytes(msgspec.json.encode(trace) + b"\n")
                    print(f"{turn}: {len(requests)} requests of {trace.client} for {name}")


if __name__ == "__main__":
    main()
