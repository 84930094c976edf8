"""Our command beside that of an earlier commit: nothing may have become slower."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from bench.fixtures import COLD_COPIES, file_of
from bench.load import download, fetch_ok, took_ms
from bench.published import publish
from bench.results import Figure, Row
from bench.scenario import Bench, Target, Targets, compared
from bench.scenarios.pages import FORMS, not_modified
from bench.servers import JSON_TYPE, Running, command, ours

BEFORE = "before"
_PAGES = (
    ("small", "json", "identity"), ("medium", "json", "gzip"), ("medium", "html", "zstd"),
    ("large", "json", "gzip"), ("huge", "html", "identity"),
)  # fmt: skip
_COLD_FILES, _COLD_BYTES = 8, 17_000_000


def before(bench: Bench) -> Iterator[Row]:
    """Warm pages, 304s, redirects and files; cold pages and files; in turns. Needs `--before`."""
    if bench.before is None:
        return
    with ExitStack() as stack:

        def both(*arguments: str) -> dict[str, Running]:
            assert bench.before is not None
            return {
                BEFORE: stack.enter_context(command(bench.before, bench.root, *arguments)),
                "ours": stack.enter_context(ours(bench.root, *arguments)),
            }

        json = both("--files", "redirect", f"{bench.upstream_url}/json/")
        yield from _pages(bench, json)
        yield from _files(bench, both)
        cached = both("--files", "cache", f"{bench.upstream_url}/json/")
        yield from _cold_files(bench, cached)
        for form in FORMS:
            servers = both(f"{bench.upstream_url}/{form}/")
            yield _cold_pages(form, servers)


def _pages(bench: Bench, servers: dict[str, Running]) -> Iterator[Row]:
    for size, form, coding in _PAGES:
        headers = {"Accept": FORMS[form], "Accept-Encoding": coding}
        yield compared(
            bench, f"{size} page, {form}, {coding}", _targets(servers, f"/simple/{size}/", headers)
        )
    small = _targets(servers, "/simple/small/", {"Accept": JSON_TYPE})
    yield compared(bench, "304 for the small page", not_modified(small))
    path = f"/resources/small/{file_of('small')}"
    yield compared(bench, "302 to a remote file", _targets(servers, path, status=302))


def _files(bench: Bench, both: Callable[..., dict[str, Running]]) -> Iterator[Row]:
    servers = both(str(bench.fixtures.packages))
    for called, file in bench.fixtures.sized.items():
        targets = _targets(servers, file.target)
        figure, clients = ("mb_per_s", 8) if called == "17 MB" else ("per_s", 16)
        yield compared(bench, f"{called} local file", targets, clients, figure=figure)


def _targets(
    servers: dict[str, Running], path: str, headers: dict[str, str] | None = None, status: int = 200
) -> Targets:
    targets = {name: Target(one, one.url + path, headers or {}) for name, one in servers.items()}
    for target in targets.values():
        fetch_ok(target.url, target.headers, status=status)
    return targets


def _cold_files(bench: Bench, servers: dict[str, Running]) -> Iterator[Row]:
    """Files through the cache, each once of each; then one that is there."""
    upstream = bench.fixtures.upstream
    cold = [publish(upstream, f"before-{number}", _COLD_BYTES) for number in range(_COLD_FILES)]
    found: dict[str, list[float]] = {name: [] for name in servers}
    for published in cold:
        for name, server in servers.items():
            fetch_ok(f"{server.url}/simple/{published.project}/", {"Accept": JSON_TYPE})
            got = download(f"{server.url}/resources/{published.project}/{published.filename}")
            if (got.status, got.bytes) != (200, published.size):
                raise RuntimeError(f"{server.url}: {got}")
            found[name].append(got.mb_per_s)
    yield _row("17 MB file, cold, --files cache", "MB/s", found, more_is_better=True)
    path = f"/resources/{cold[0].project}/{cold[0].filename}"
    targets = _targets(servers, path)
    yield compared(bench, "17 MB file from the cache", targets, 8, figure="mb_per_s")


def _cold_pages(form: str, servers: dict[str, Running]) -> Row:
    """The first answers for pages of 4,400 files, each once of each."""
    headers = {"Accept": JSON_TYPE, "Accept-Encoding": "gzip"}
    found: dict[str, list[float]] = {name: [] for name in servers}
    for number in range(COLD_COPIES):
        for name, server in servers.items():
            found[name].append(took_ms(f"{server.url}/simple/cold-{number}/", headers))
    return _row(f"cold large page from {form}", "ms", found)


def _row(
    name: str, unit: str, found: dict[str, list[float]], *, more_is_better: bool = False
) -> Row:
    figures = {server: Figure(statistics.median(values)) for server, values in found.items()}
    return Row(name=name, unit=unit, figures=figures, more_is_better=more_is_better)
