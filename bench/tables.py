"""The tables of the documentation, made from a results file.

    python -m bench.tables RESULTS [--check] [DOCUMENT ...]

A document says where: between `<!-- figures: begin -->` and `<!-- figures: end -->` go all rows,
after `<!-- figures: begin summary -->` the short table.
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.results import OLD, Conditions, Figure, Results, Row, Run, read

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "docs/performance.md", ROOT / "README.md")
COLUMNS = (
    "row", "unit", "ours", "nginx", "ratio", "other", "ratio", "CPU µs (theirs)",
    "p50 ms (theirs)", "p99 ms (theirs)", "note",
)  # fmt: skip
TEXTS = frozenset({"row", "unit", "note"})
_MARKED = re.compile(
    r"(<!-- figures: begin(?P<which> summary)? -->\n).*?(<!-- figures: end -->)", re.DOTALL
)
#: Scenario and row, and how the short table calls it.
_SUMMARY = (
    ("warm", "medium page, json, identity", "page of 48 files, requests/s"),
    ("warm", "huge page, json, gzip", "page of 11,000 files, gzip, requests/s"),
    ("warm", "304 for the medium page", "304, requests/s"),
    ("files", "74 kB file, from memory, 16 clients", "74 kB local file, requests/s"),
    ("files", "17 MB file, sendfile, 8 clients", "17 MB local file, MB/s"),
    ("cached-file", "17 MB file, warm cache (nginx: proxy_cache), 8 clients",
     "17 MB file from the cache, MB/s"),
    ("cold", "cold large page from json, own time", "page of 4,400 files, first answer, ms"),
    ("metadata", "metadata of a remote wheel, first time",
     "metadata of a large remote wheel, ms"),
    ("install", "uv pip install of 45 wheels through us, warm",
     "`uv pip install` of 45 wheels, warm cache, ms"),
    ("start", "start to first answer", "start to first answer, ms"),
    ("idle", "memory for 20,000 idle connections", "20,000 idle connections, MB"),
)  # fmt: skip


def number(value: float | None) -> str:
    """Three digits or more, as they are read."""
    if value is None:
        return ""
    return (
        f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if value >= 1 else f"{value:.2g}"
    )


def ratio(value: float | None) -> str:
    """How ours compares; above 1 ours is better."""
    return "" if value is None else f"{value:.2f}"


def cells(row: Row) -> list[str]:
    """The row's texts, one for each of `COLUMNS`."""
    return [
        row.name,
        row.unit,
        number(row.ours.value),
        number(row.nginx.value if row.nginx else None),
        ratio(row.ratio(row.nginx)),
        ", ".join(f"{number(other.value)} ({name})" for name, other in row.others.items()),
        ", ".join(filter(None, (ratio(row.ratio(other)) for other in row.others.values()))),
        *(_pair(row, of) for of in ("cpu_us", "p50_ms", "p99_ms")),
        row.note,
    ]


def _pair(row: Row, figure: str) -> str:
    """Our figure, and that of nginx, or else of the other server, in brackets."""
    compared = row.nginx or (row.other[1] if row.other else None)
    shown = [number(getattr(one, figure)) for one in (row.ours, compared) if one]
    if not shown[0]:
        return ""
    return f"{shown[0]} ({shown[1]})" if len(shown) > 1 else shown[0]


def markdown(rows: Iterable[Row]) -> str:
    """The table of all rows."""
    return _lines(COLUMNS, map(cells, rows), [column in TEXTS for column in COLUMNS])


def summary(rows: Iterable[Row]) -> str:
    """The short table: what a reader of the README wants to know."""
    found = {(row.scenario, row.name): row for row in rows}
    lines = [
        [called, *map(_value, (row.figures.get(server) for server in ("ours", "nginx", OLD)))]
        for scenario, name, called in _SUMMARY
        if (row := found.get((scenario, name)))
    ]
    return _lines(("", "ours", "nginx", f"release {OLD}"), lines, [True, False, False, False])


def _value(figure: Figure | None) -> str:
    return number(figure.value if figure else None)


def _lines(columns: Iterable[str], rows: Iterable[Iterable[str]], texts: Iterable[bool]) -> str:
    ruler = [":--" if text else "--:" for text in texts]
    return "".join(f"| {' | '.join(line)} |\n" for line in (columns, ruler, *rows))


def conditions_line(conditions: Conditions) -> str:
    """Where and of what rows were measured."""
    versions = ", ".join(f"{name} {version}" for name, version in conditions.versions.items())
    return (
        f"`{conditions.command}` at {conditions.commit}, {conditions.date}, on "
        f"{conditions.machine}; {versions}."
    )


def _scenarios(run: Run) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(row.scenario for row in run.rows))


def generated(text: str, results: Results) -> str:
    """The document with the tables of these results in their places."""
    parts = [
        f"**{scenario}**\n\n{markdown(row for row in results.rows if row.scenario == scenario)}"
        for scenario in dict.fromkeys(row.scenario for row in results.rows)
    ]
    measured = "".join(
        f"- {_scenarios(run)}: {conditions_line(run.conditions)}\n" for run in results.runs
    )
    full = f"\n{measured}\n" + "\n".join(parts) + "\n"

    def place(found: re.Match[str]) -> str:
        return found[1] + (f"\n{summary(results.rows)}\n" if found["which"] else full) + found[3]

    return _MARKED.sub(place, text)


def main() -> int:
    """Write the tables into the documents; with `--check`, say which are not of these results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("documents", nargs="*", type=Path, default=DOCUMENTS)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if any differs")
    options = parser.parse_args()
    results = read(options.results)
    different = False
    for document in options.documents:
        text = document.read_text()
        if (new := generated(text, results)) != text:
            different = True
            print(f"{document}: {'differs' if options.check else 'written'}")
            if not options.check:
                document.write_text(new)
    return 1 if options.check and different else 0


if __name__ == "__main__":
    sys.exit(main())
