"""What the benchmark must reach, and whether a results file does.

    python -m bench.targets RESULTS

Ratios are of rows measured in turns in one run; the worst row of each target counts. This is a
report: it never fails.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.results import Figure, Row, read

#: A figure of a row, given all rows; None where it was not measured.
Measure = Callable[[Row, Sequence[Row]], float | None]


class Target(msgspec.Struct, frozen=True):
    """A bound on a figure of all rows of a scenario whose names match."""

    what: str
    scenario: str
    #: A regular expression found in the name of the row.
    rows: str
    measure: Measure
    limit: float
    #: The figure must not be below the limit, or else not above it.
    at_least: bool = True
    aim: float | None = None

    @property
    def wanted(self) -> str:
        """The limit as text."""
        text = f"{'≥' if self.at_least else '≤'} {self.limit:g}"
        return text if self.aim is None else f"{text} (aim {self.aim:g})"


class Outcome(msgspec.Struct, frozen=True):
    """The worst and the best figure for a target, and the row of the worst; None: none measured."""

    worst: float | None = None
    best: float | None = None
    row: str = ""
    state: str = "not measured"


def more_than_other(row: Row, _: Sequence[Row]) -> float | None:
    """What our figure is above that of the other server or way."""
    return row.ours.value - row.other[1].value if row.other else None


def to_nginx(row: Row, _: Sequence[Row]) -> float | None:
    """Our figure by nginx's; above 1 ours is better."""
    return row.ratio(row.nginx)


def to_other(row: Row, _: Sequence[Row]) -> float | None:
    """Our figure by the other server's; above 1 ours is better."""
    return row.ratio(row.other[1]) if row.other else None


def cpu_to_nginx(row: Row, _: Sequence[Row]) -> float | None:
    """Our CPU time for an answer, in those of nginx."""
    return _quotient(row, lambda figure: figure.cpu_us)


def p99_to_nginx(row: Row, _: Sequence[Row]) -> float | None:
    """Our 99th percentile, in those of nginx."""
    return _quotient(row, lambda figure: figure.p99_ms)


def in_nginx(row: Row, _: Sequence[Row]) -> float | None:
    """Our figure in nginx's; for what should be small."""
    return _quotient(row, lambda figure: figure.value)


def in_other(row: Row, _: Sequence[Row]) -> float | None:
    """Our figure in that of the other server or way; for what should be small."""
    return row.ours.value / row.other[1].value if row.other and row.other[1].value else None


def to_before(row: Row, _: Sequence[Row]) -> float | None:
    """Our figure in that of the commit before; for what should be small."""
    before = row.figures.get("before")
    return row.ours.value / before.value if before and before.value else None


def own(row: Row, _: Sequence[Row]) -> float | None:
    """Our figure by itself."""
    return row.ours.value


def to_one_worker(row: Row, rows: Sequence[Row]) -> float | None:
    """The ratio to nginx with two workers, by that with one."""
    name = row.name.replace("2 workers", "1 worker")
    single = next((r for r in rows if (r.scenario, r.name) == (row.scenario, name)), None)
    two, one = row.ratio(row.nginx), single and single.ratio(single.nginx)
    return two / one if two and one else None


def _quotient(row: Row, part: Callable[[Figure], float | None]) -> float | None:
    ours, nginx = part(row.ours), part(row.nginx) if row.nginx else None
    return ours / nginx if ours is not None and nginx else None


TARGETS = (
    Target("small and medium pages, any form and coding, to nginx", "warm",
           "^(small|medium) page", to_nginx, 0.6, aim=0.8),
    Target("304s, to nginx", "warm", "^304", to_nginx, 0.6),
    Target("C10 redirects, to nginx's return 302", "redirect", "^302", to_nginx, 0.6),
    Target("large and huge pages, to nginx", "warm", "^(large|huge) page", to_nginx, 1.0),
    Target("17 MB file, to nginx", "files", "^17 MB file, sendfile", to_nginx, 0.9),
    Target("17 MB file, CPU time in nginx's", "files", "^17 MB file, sendfile", cpu_to_nginx, 1.3,
           at_least=False),
    Target("74 kB file by sendfile, to nginx", "files", "^74 kB file, sendfile", to_nginx, 0.6),
    Target("74 kB file from memory, to nginx", "files", "^74 kB file, from memory", to_nginx, 0.8),
    Target("two workers: the ratio to nginx by that of one", "workers", "2 workers$",
           to_one_worker, 0.9),
    Target("two workers: pages and 304s, to two of nginx's", "workers",
           "^(small page|medium page|304),.* 2 workers$", to_nginx, 0.54),
    Target("two workers: 74 kB file, to two of nginx's", "workers", "^74 kB file,.* 2 workers$",
           to_nginx, 0.72),
    Target("256 connections: p99 in nginx's", "connections", " 256 connections", p99_to_nginx, 2.0,
           at_least=False),
    # 5 % are noise.
    Target("C9 own code of a warm answer, µs", "own-code", "with its log line$", own, 5,
           at_least=False),
    Target("C11 500 warm pages of 10,000 wheels: time in nginx's", "directories",
           "^second start, 500 pages", in_nginx, 3, at_least=False),
    Target("C11 first start: time in that of sha256sum", "directories",
           "^first start, 500 pages", in_nginx, 1.2, at_least=False),
    Target("C11 100,000 files: start, s", "directories", "start of 100,000 .*: ready", own, 3,
           at_least=False),
    Target("C11 100,000 files: memory, MB", "directories", "start of 100,000 .*: memory", own, 150,
           at_least=False),
    Target("C11 100,000 files: a new file seen within, s", "directories",
           "new file is on its page", own, 1, at_least=False),
    Target("C12 small files streamed, to nginx's proxy_pass", "stream-small",
           "file, --files stream", to_nginx, 0.3),
    Target("C13 mixed load, to nginx's proxy_cache", "mixed", "projects$", to_nginx, 0.75),
    Target("C14 install through a cold cache, in straight from upstream", "install", "cold$",
           in_other, 1.25, at_least=False),
    Target("C14 cold file into the cache, to nginx's proxy_pass", "cached-file",
           r"cold, --files cache \(nginx: pass\)", to_nginx, 0.8),
    Target("C14 cold page of 4,400 files, JSON, ms", "cold", "from json, own time", own, 60,
           at_least=False),
    Target("C14 cold page of 4,400 files, HTML, ms", "cold", "from html, own time", own, 80,
           at_least=False),
    Target("C14 the same, in that of the commit before", "before", "^cold large page", to_before,
           0.85, at_least=False),
    Target("C15 build farm: p99, in nginx's", "farm", "all requests, p99", in_nginx, 2,
           at_least=False),
    Target("250,000 OSV records: read, s of CPU", "advisories", "read, CPU time$", own, 10,
           at_least=False),
    Target("250,000 OSV records: peak memory, MB", "advisories", "peak memory$", own, 150,
           at_least=False),
    Target("250,000 OSV records: ready after a restart, ms", "advisories", "after a restart$", own,
           1000, at_least=False),
    Target("nothing slower than under Granian", "granian", "", to_other, 0.95),
    Target("warm pages through ten rules, to those without", "rules", "with ten rules$", to_other,
           0.95),
    Target("first page through ten rules, ms more than without", "rules",
           "^first .* through ten rules$", more_than_other, 25, at_least=False),
    Target("10,000 globs, to ten", "rules", "^(?!first).* globs denied$", to_other, 0.95),
    Target("20,000 idle connections, MB", "idle", "^memory for 20,000", own, 150, at_least=False),
    Target("start to first answer, ms", "start", "^start to first answer$", own, 350,
           at_least=False),
)  # fmt: skip


def outcome(target: Target, rows: Sequence[Row]) -> Outcome:
    """What the rows say of the target."""
    found = [
        (figure, row.name)
        for row in rows
        if row.scenario == target.scenario and re.search(target.rows, row.name)
        if (figure := target.measure(row, rows)) is not None
    ]
    if not found:
        return Outcome()
    found.sort(reverse=not target.at_least)
    (worst, name), (best, _) = found[0], found[-1]
    met = worst >= target.limit if target.at_least else worst <= target.limit
    return Outcome(worst, best, name, "met" if met else "missed")


def main() -> None:
    """Print each target, what was reached, and whether that is enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    rows = read(parser.parse_args().results).rows
    table = Table(box=None, pad_edge=False)
    for column in ("target", "wanted", "worst", "best", "", "worst row"):
        table.add_column(column, justify="right" if column in {"worst", "best"} else "left")
    for target in TARGETS:
        found = outcome(target, rows)
        figures = ("" if one is None else f"{one:.2f}" for one in (found.worst, found.best))
        table.add_row(target.what, target.wanted, *figures, found.state, found.row)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
