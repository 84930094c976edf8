"""What rules cost: a page of 4,400 files through ten of them, first and warm; many globs."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.fixtures import COLD_COPIES, file_of
from bench.load import fetch_ok, took_ms
from bench.results import Figure, Row
from bench.scenario import Bench, Target, Targets, compared
from bench.scenarios.pages import FORMS, not_modified
from bench.servers import JSON_TYPE, Running, ours

WITHOUT, TEN_GLOBS = "without rules", "ten globs"
#: Rules that judge each file of the page, and show almost all of them: so the answers are alike.
_TEN_RULES = """
[[rules]]
min-age = "7 days"
undated = "allow"
except = ["corp-*", "urllib3==2.6.1"]
[[rules]]
freeze = 2026-08-01
undated = "allow"
[[rules]]
deny = ["leftpad", "requests<2.32", "*<0.0.1"]
reason = "see the security board"
[[rules]]
deny = ["*"]
platforms = ["plan9_*"]
[[rules]]
deny = ["*"]
larger-than = "90 GB"
kinds = ["wheel"]
[[rules]]
deny = ["bad-*", "*==99.*"]
[[rules]]
pre-releases = "hide"
[[rules]]
yanked = "hide"
[[rules]]
yank = ["*==98.*"]
reason = "superseded"
[[rules]]
only = "wheels"
dry-run = true
"""
_PAGES = (("small", "json", "identity"), ("large", "json", "gzip"), ("large", "html", "zstd"))
_GLOBS = 10_000


def rules(bench: Bench) -> Iterator[Row]:
    """The same index with and without rules, and with ten and 10,000 globs, in turns."""
    with ExitStack() as stack:

        def served(name: str, tables: str) -> Running:
            config = _configuration(bench, name, tables)
            return stack.enter_context(ours(bench.root, "--config", str(config)))

        servers = {WITHOUT: served("none", ""), "ours": served("ten", _TEN_RULES)}
        yield _first("first large page through ten rules", servers)
        yield from _warm(bench, servers, "with ten rules")
        servers = {TEN_GLOBS: served("few", _denied(10)), "ours": served("many", _denied(_GLOBS))}
        yield _first(f"first large page with {_GLOBS:,} globs denied", servers)
        yield from _warm(bench, servers, f"with {_GLOBS:,} globs denied")


def _configuration(bench: Bench, name: str, tables: str) -> Path:
    config = bench.root / f"rules-{name}.toml"
    source = f'[sources.upstream]\nurl = "{bench.upstream_url}/json/"\nfiles = "redirect"\n'
    config.write_text(source + tables)
    return config


def _denied(count: int) -> str:
    globs: Sequence[str] = [f'"evil-{number:05}-*"' for number in range(count)]
    return f"[[rules]]\ndeny = [{', '.join(globs)}]\n"


def _first(name: str, servers: dict[str, Running]) -> Row:
    """The first answers for large pages, by each server in turn; what ours takes more."""
    headers = {"Accept": JSON_TYPE, "Accept-Encoding": "gzip"}
    found: dict[str, list[float]] = {called: [] for called in servers}
    cpu_us = dict.fromkeys(servers, 0.0)
    for server in servers.values():
        took_ms(f"{server.url}/simple/small/", headers)
    for number in range(COLD_COPIES):
        # Each is the first as often as the other.
        for called, server in list(servers.items())[:: -1 if number % 2 else 1]:
            with server.cpu() as cpu:
                found[called].append(took_ms(f"{server.url}/simple/cold-{number}/", headers))
            cpu_us[called] += cpu.seconds / COLD_COPIES * 1e6
    figures = {called: statistics.median(times) for called, times in found.items()}
    (other,) = figures.keys() - {"ours"}
    return Row(
        name=name,
        unit="ms",
        figures={called: Figure(value, cpu_us[called]) for called, value in figures.items()},
        more_is_better=False,
        note=f"{figures['ours'] - figures[other]:+.1f} ms, of CPU "
        f"{(cpu_us['ours'] - cpu_us[other]) / 1000:+.1f} ms",
    )


def _warm(bench: Bench, servers: dict[str, Running], what: str) -> Iterator[Row]:
    for size, form, coding in _PAGES:
        headers = {"Accept": FORMS[form], "Accept-Encoding": coding}
        targets = _targets(servers, f"/simple/{size}/", headers)
        yield compared(bench, f"{size} page, {form}, {coding}, {what}", targets)
    small = _targets(servers, "/simple/small/", {"Accept": JSON_TYPE})
    yield compared(bench, f"304 for the small page, {what}", not_modified(small))
    path = f"/resources/small/{file_of('small')}"
    yield compared(bench, f"302 to a file, {what}", _targets(servers, path, status=302))


def _targets(
    servers: dict[str, Running], path: str, headers: dict[str, str] | None = None, status: int = 200
) -> Targets:
    targets = {name: Target(one, one.url + path, headers or {}) for name, one in servers.items()}
    for target in targets.values():
        fetch_ok(target.url, target.headers, status=status)
    return targets
