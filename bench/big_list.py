"""The list of a public index: 800,000 names, fetched, read, rendered and sent, and what that costs.

`python -m bench.big_list` measures a checkout by itself; needs nginx.
"""

import argparse
import gzip
import http.client
import json
import multiprocessing
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import msgspec

from bench.load import fetch
from bench.nginx import nginx
from bench.servers import JSON_TYPE, Running, ours, process_tree

NAMES = 800_000
FORMS = {"json": JSON_TYPE, "html": "text/html"}
CODINGS = ("gzip", "zstd", "identity")
_SAMPLE_S = 0.05
_SETTLE_S = 1.5


class Watched(msgspec.Struct):
    """What was seen while something else was going on."""

    longest_wait_ms: float = 0.0
    pings: int = 0
    peak_mb: float = 0.0


class Answered(msgspec.Struct, frozen=True):
    """One answer: how long it took, and how large it was."""

    name: str
    ms: float
    mb: float


class Measured(msgspec.Struct, frozen=True):
    """One run against one upstream."""

    name: str
    answers: list[Answered]
    watched: Watched
    #: The highest resident size any process of the tree ever had, in MB.
    high_water_mb: float
    after_mb: float


def write_lists(upstream: Path, count: int = NAMES) -> None:
    """Write the list as `json/` and `html/`, with a gzip-coded twin of each, and one small page."""
    names = _names(count)
    projects = [
        {"_last-serial": 20_000_000 + number, "name": name} for number, name in enumerate(names)
    ]
    meta = {"_last-serial": 30_000_000, "api-version": "1.4"}
    anchors = "\n".join(f'    <a href="/simple/{name}/">{name}</a>' for name in names)
    head = '<!DOCTYPE html>\n<html>\n  <head>\n    <meta name="pypi:repository-version" '
    texts = {
        "json": json.dumps({"meta": meta, "projects": projects}, separators=(",", ":")),
        "html": f'{head}content="1.4">\n    <title>Simple index</title>\n  </head>\n  <body>\n'
        f"{anchors}\n  </body>\n</html>\n<!--SERIAL 30000000-->",
    }
    for form, text in texts.items():
        folder = upstream / form
        (folder / "small").mkdir(parents=True, exist_ok=True)
        (folder / f"index.{form}").write_text(text)
        (folder / f"index.{form}.gz").write_bytes(gzip.compress(text.encode(), 6))
    (upstream / "json/small/index.json").write_text('{"meta":{"api-version":"1.4"},"files":[]}')
    (upstream / "html/small/index.html").write_text("<html></html>")


def _names(count: int) -> list[str]:
    """Names as people choose them, in the order of their normalised forms."""
    random = Random(0)
    words = ["".join(random.choices("abcdefghijklmnoprstuvwy", k=3 + n % 6)) for n in range(5000)]
    found: set[str] = set()
    while len(found) < count:
        name = "-".join(random.choices(words, k=random.choice((1, 2, 2, 2, 3))))
        found.add(name + str(random.choice(("", "", "", random.randrange(1000)))))
    return sorted(found)


@contextmanager
def watching(server: Running) -> Iterator[Watched]:
    """Ask for a small page every millisecond, and look at the memory, until the block is left."""
    seen = Watched()
    ours, theirs = multiprocessing.Pipe()
    pinging = multiprocessing.Process(target=_ping, args=(server.url, theirs))
    pinging.start()
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(_SAMPLE_S):
            seen.peak_mb = max(seen.peak_mb, server.memory_mb())

    sampling = threading.Thread(target=sample)
    sampling.start()
    try:
        yield seen
    finally:
        stop.set()
        sampling.join()
        ours.send("stop")
        seen.pings, seen.longest_wait_ms = ours.recv()
        pinging.join()


def _ping(url: str, parent: Connection) -> None:
    """In a process of its own, so that only the server can hold it up."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    headers = {"Accept": JSON_TYPE, "Accept-Encoding": "identity"}
    count, longest = 0, 0.0
    while not parent.poll(0.001):
        begun = time.perf_counter()
        connection.request("GET", "/simple/small/", headers=headers)
        connection.getresponse().read()
        longest = max(longest, time.perf_counter() - begun)
        count += 1
    parent.send((count, longest * 1000))


def measure(root: Path, name: str, *arguments: str) -> Measured:
    """Every form and coding of the list, one after the other, from a server just started."""
    answers: list[Answered] = []
    with ours(root, *arguments) as server:
        fetch(f"{server.url}/simple/small/", {"Accept": JSON_TYPE})
        with watching(server) as watched:
            for form, accept in FORMS.items():
                for coding in CODINGS:
                    headers = {"Accept": accept, "Accept-Encoding": coding}
                    status, _, body, ms = fetch(f"{server.url}/simple/", headers)
                    if status != http.client.OK:
                        raise RuntimeError(f"{name}: status {status}, {body[:200]!r}")
                    answers.append(Answered(f"{form} {coding}", ms, len(body) / 1e6))
        time.sleep(_SETTLE_S)
        return Measured(name, answers, watched, _high_water_mb(server), server.memory_mb())


def _high_water_mb(server: Running) -> float:
    statuses = (Path(f"/proc/{pid}/status").read_text() for pid in process_tree(server.process.pid))
    found = (re.search(r"VmHWM:\s+(\d+) kB", status) for status in statuses)
    return max(int(match[1]) for match in found if match) / 1024


def main() -> None:
    """Measure JSON and HTML upstreams, plain and gzip-coded, each fetched and from the disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=NAMES, help="how many names")
    parser.add_argument("--only", default="", help="only upstreams with this in their names")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        root = Path(place)
        root.chmod(0o755)  # nginx's worker is another user
        upstream = root / "upstream"
        write_lists(upstream, options.names)
        with nginx(root, upstream, upstream) as server:
            addresses = {"gzip": server.static_url, "plain": server.upstream_url}
            for coding, url in addresses.items():
                for form in FORMS:
                    name = f"{form} {coding}"
                    if options.only in name:
                        folder = str(root / f"kept-{form}-{coding}")
                        arguments = ("--cache-dir", folder, f"{url}/{form}/")
                        _show(measure(root, f"{name}, fetched", *arguments))
                        _show(measure(root, f"{name}, from the disk", *arguments))


def _show(measured: Measured) -> None:
    watched = measured.watched
    print(
        f"{measured.name}: peak {watched.peak_mb:.0f} MB (highest process "
        f"{measured.high_water_mb:.0f}), then {measured.after_mb:.0f} MB; others waited up to "
        f"{watched.longest_wait_ms:.1f} ms ({watched.pings} asked)"
    )
    for answered in measured.answers:
        print(f"    {answered.name:14} {answered.ms:7.0f} ms {answered.mb:6.1f} MB")


if __name__ == "__main__":
    main()
