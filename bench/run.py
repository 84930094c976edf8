"""The benchmark: `python -m bench.run`. Needs nginx and wrk; see bench/README.md."""

import argparse
import platform
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench import cache_scenarios
from bench.fixtures import build
from bench.scenarios import SCENARIOS as INDEX_SCENARIOS
from bench.scenarios import Bench, Row, Scenario
from bench.servers import install_old_release, nginx

SCENARIOS: dict[str, Scenario] = {
    **INDEX_SCENARIOS,
    "cached-file": cache_scenarios.files,
    "join": cache_scenarios.join,
    "restart": cache_scenarios.restart,
    "list": cache_scenarios.whole_list,
    "many-pages": cache_scenarios.many_pages,
    "mixed": cache_scenarios.mixed,
    "install": cache_scenarios.install,
}


def main() -> None:
    """Run the scenarios and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], metavar="SCENARIO",
                        help=f"which ones: {', '.join(SCENARIOS)}; all by default")  # fmt: skip
    parser.add_argument("--seconds", type=int, default=2, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds; medians count")
    parser.add_argument("--old", metavar="COMMAND", help="the old release's command")
    parser.add_argument("--install-old", metavar="FOLDER", type=Path,
                        help="install the old release into an environment there")  # fmt: skip
    parser.add_argument("--wheel", type=Path, help="a large real wheel for the metadata scenario")
    parser.add_argument("--json", type=Path, help="write the rows to this file as well")
    parser.add_argument("--markdown", type=Path, help="and, as a table, to this one")
    options = parser.parse_args()
    old = options.old or (install_old_release(options.install_old) if options.install_old else None)
    rows: list[Row] = []
    console = Console(width=160)
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        root = Path(place)
        root.chmod(0o755)  # nginx's worker is another user
        static = root / "static"
        static.mkdir()
        (static / "index.html").write_text("static files")
        fixtures = build(root, options.wheel)
        with nginx(root, static, fixtures.upstream) as (static_url, upstream_url, upstream_log):
            bench = Bench(
                root=root, fixtures=fixtures, static=static, static_url=static_url,
                upstream_url=upstream_url, upstream_log=upstream_log, old=old,
                seconds=options.seconds, rounds=options.rounds,
            )  # fmt: skip
            for name in options.scenarios or SCENARIOS:
                for row in SCENARIOS[name](bench):
                    rows.append(row)
                    console.print(f"[dim]{row.name}: {row.ours:,.1f} {row.unit}[/dim]")
    console.print(f"Python {platform.python_version()}, {platform.machine()}")
    console.print(_table(rows))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows)))
    if options.markdown:
        options.markdown.write_text(_markdown(rows))


def _markdown(rows: list[Row]) -> str:
    lines = ["| scenario | unit | ours | nginx | ratio | 0.10 | ratio |", "|" + " --- |" * 7]
    lines += [
        f"| {row.name} | {row.unit} | {_number(row.ours)} | {_number(row.nginx)} | "
        f"{_ratio(row, row.nginx)} | {_number(row.old)} | {_ratio(row, row.old)} |"
        for row in rows
    ]
    return "\n".join([*lines, ""])


_TEXTS = frozenset({"scenario", "unit", "note"})


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("scenario", "unit", "ours", "nginx", "ratio", "old release", "ratio", "note"):
        table.add_column(column, justify="left" if column in _TEXTS else "right")
    for row in rows:
        table.add_row(
            row.name, row.unit, _number(row.ours), _number(row.nginx), _ratio(row, row.nginx),
            _number(row.old), _ratio(row, row.old), row.note,
        )  # fmt: skip
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _ratio(row: Row, other: float | None) -> str:
    """Above 1 we are better."""
    if not other or not row.ours:
        return ""
    return f"{row.ours / other if row.more_is_better else other / row.ours:.2f}"


if __name__ == "__main__":
    main()
