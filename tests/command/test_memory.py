"""Memory stays within a small multiple of `--memory`, whatever an index is made to hold."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import pytest
from typing_extensions import override

from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import JSON_TYPE, publish_html
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.serving import Server, serving

MB = 1024 * 1024
BUDGET = 4 * MB
#: What is held beside: tables of names, heads and the like, which do not grow with the budget.
BESIDE = 2 * MB
#: What the largest answers take while they are made, and the allocator keeps afterwards.
TRANSIENT_MB = 16
HEADERS = {"Content-Type": JSON_TYPE, "Cache-Control": "max-age=600"}


def _file(project: str, number: int, **more: object) -> dict[str, object]:
    digest = sha256(f"{project} {number}".encode()).hexdigest()
    name = f"{project}-1.{number}-py3-none-any.whl"
    url = f"../../packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{name}"
    return {"filename": name, "url": url, "hashes": {"sha256": digest}, "size": 1, **more}


def _page(upstream: Upstream, project: str, files: list[dict[str, object]], **more: object) -> str:
    page = {"meta": {"api-version": "1.1"}, "name": project, "files": files, **more}
    target = f"/simple/{project}/"
    upstream.on(target, Reply(headers=HEADERS, body=json.dumps(page).encode(), etag='"1"'))
    return target


def _many_files(upstream: Upstream) -> Iterator[str]:
    for n in range(30):
        yield _page(upstream, f"m{n}", [_file(f"m{n}", i) for i in range(400)])


def _long_strings(upstream: Upstream) -> Iterator[str]:
    for n in range(120):
        long = {"requires-python": ">=3," * 5_000, "yanked": "ä" * 20_000 + "\N{SNAKE}"}
        yield _page(upstream, f"l{n}", [_file(f"l{n}", i, **long) for i in range(5)])


def _many_hashes(upstream: Upstream) -> Iterator[str]:
    names = {"md5": 32, "sha1": 40, "sha224": 56, "sha384": 96, "sha512": 128, "blake2b": 128}
    hashes = {name: "0" * size for name, size in names.items()}
    for n in range(30):
        files = [_file(f"h{n}", i, hashes=hashes, **{"core-metadata": hashes}) for i in range(200)]
        yield _page(upstream, f"h{n}", files)


def _many_versions(upstream: Upstream) -> Iterator[str]:
    for n in range(30):
        yield _page(upstream, f"v{n}", [], versions=[str(i) for i in range(10_000)])


def _private_values(upstream: Upstream) -> Iterator[str]:
    for n in range(30):
        odd = {"_private": ["x" * 100_000], "size": "odd"}
        yield _page(upstream, f"p{n}", [_file(f"p{n}", 1, **odd)], _more=["x"] * 50_000)


def _small_projects(upstream: Upstream) -> Iterator[str]:
    for n in range(1_200):
        yield _page(upstream, f"s{n}", [_file(f"s{n}", 1)])


def _missing(_: Upstream) -> Iterator[str]:
    for n in range(2_000):
        yield f"/simple/{'absent' * 30}{n}/"


def _redirects(upstream: Upstream) -> Iterator[str]:
    for n in range(10):
        files = [_file(f"r{n}", i) for i in range(300)]
        _page(upstream, f"r{n}", files)
        for file in files:
            yield f"/resources/r{n}/{file['filename']}"


def _metadata(upstream: Upstream) -> Iterator[str]:
    wheels = [build_wheel("w", f"1.{n}", requires=["x" * 20_000]) for n in range(400)]
    small = [build_wheel("t", f"1.{n}") for n in range(1_000)]
    publish_html(upstream, [*wheels, *small])
    for project, files in {"w": wheels, "t": small}.items():
        for wheel in files:
            yield f"/resources/{project}/{wheel.filename}.metadata"


def _lists(upstream: Upstream) -> Iterator[str]:
    names = [{"name": f"project-with-a-long-name-{n:06}"} for n in range(60_000)]
    page = {"meta": {"api-version": "1.1"}, "projects": names}
    upstream.on("/simple/", Reply(headers=HEADERS, body=json.dumps(page).encode()))
    for _ in range(4):
        yield "/simple/"


SHAPES: list[Callable[[Upstream], Iterator[str]]] = [
    _many_files,
    _long_strings,
    _many_hashes,
    _many_versions,
    _private_values,
    _small_projects,
    _missing,
    _redirects,
    _metadata,
    _lists,
]


def _growth(upstream: Upstream, targets: list[str], budget: int) -> int:
    command = [sys.executable, "-m", "tests.memory_use", upstream.simple, str(budget)]
    warm = [_page(upstream, f"warm{n}", [_file(f"warm{n}", 1)]) for n in range(30)]
    done = subprocess.run(
        command,
        input="\n".join([*warm, *targets]),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__.strip("_"))
def test_cached_objects_stay_within_the_budget(
    upstream: Upstream, shape: Callable[[Upstream], Iterator[str]]
) -> None:
    """Pages, lists, files and metadata of any shape take no more memory than allowed."""
    assert _growth(upstream, list(shape(upstream)), BUDGET) < BUDGET + BESIDE


def _resident(server: Server) -> int:
    """Bytes of the process that are in memory."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("what a process holds is read from /proc")
    found = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(found.split()[1]) * 1024


def _ask(server: Server, targets: list[str]) -> None:
    """Ask for all of them, each on a connection of its own, four at a time."""

    def ask(numbered: tuple[int, str]) -> None:
        number, target = numbered
        headers = [{}, {"Accept": JSON_TYPE}, {"Accept-Encoding": "zstd"}][number % 3]
        request = Request(server.url[:-1] + target, headers=headers)
        try:
            with _OPENER.open(request, timeout=60) as response:
                response.read()
        except HTTPError as error:
            error.read()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, enumerate(targets)))


class _NoRedirect(HTTPRedirectHandler):
    @override
    def redirect_request(self, *_: object) -> None:
        return None


_OPENER = build_opener(_NoRedirect())


def test_memory_of_the_process_stays_within_bounds(upstream: Upstream, tmp_path: Path) -> None:
    """The process grows by no more than twice the budget and some megabytes."""
    warm = [_page(upstream, f"warm{n}", [_file(f"warm{n}", 1)]) for n in range(30)]
    shapes = {shape: list(shape(upstream)) for shape in SHAPES if shape is not _missing}
    budget = 16
    with serving(
        tmp_path, "--memory", f"{budget}MB", "--no-cache", "--log-level", "error", upstream.simple
    ) as server:
        _ask(server, warm)
        before = _resident(server)
        for targets in shapes.values():
            _ask(server, targets)
            assert _resident(server) - before < (2 * budget + TRANSIENT_MB) * MB
