"""The benchmark: `python -m bench.run`. Needs nginx and wrk; see bench/README.md."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench import results, tables
from bench.fixtures import build
from bench.nginx import nginx, program
from bench.results import Row, Run
from bench.scenario import Bench
from bench.scenarios import SCENARIOS
from bench.servers import install_commit, install_old_release

#: Where earlier commits are installed, to be compared with.
_BEFORE = Path(__file__).parent / ".before"


def main() -> None:
    """Run the scenarios and print what was measured."""
    options = _parser().parse_args()
    console = Console(width=190)
    conditions = results.conditions(sys.argv[1:], program())
    measured: list[Row] = []
    with _bench(options) as bench:
        for name in options.scenarios or SCENARIOS:
            rows: list[Row] = []
            for row in SCENARIOS[name](bench):
                rows.append(msgspec.structs.replace(row, scenario=name))
                console.print(f"[dim]{name}: {row.name}: {row.ours.value:,.1f} {row.unit}[/dim]")
            if options.json:  # each at once: a later one may fail
                results.write(options.json, Run(conditions, rows))
            measured += rows
    console.print(tables.conditions_line(conditions))
    console.print(_table(measured))
    if options.markdown:
        options.markdown.write_text(tables.markdown(measured))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], metavar="SCENARIO",
                        help=f"which ones: {', '.join(SCENARIOS)}; all by default")  # fmt: skip
    parser.add_argument("--seconds", type=int, default=2, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds; medians count")
    parser.add_argument("--old", metavar="COMMAND", help="the old release's command")
    parser.add_argument("--install-old", metavar="FOLDER", type=Path,
                        help="install the old release into an environment there")  # fmt: skip
    parser.add_argument("--before", metavar="COMMIT",
                        help="the commit to compare with, for the scenario `before`")  # fmt: skip
    parser.add_argument("--wheel", type=Path, help="a large real wheel for the metadata scenario")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="put the rows into this file; those of other scenarios "
                        "that are in it stay")  # fmt: skip
    parser.add_argument("--markdown", type=Path, help="and, as a table, to this one")
    return parser


@contextmanager
def _bench(options: argparse.Namespace) -> Iterator[Bench]:
    old = options.old or (install_old_release(options.install_old) if options.install_old else None)
    before = install_commit(options.before, _BEFORE) if options.before else None
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        root = Path(place)
        root.chmod(0o755)  # nginx's worker is another user
        static = root / "static"
        static.mkdir()
        fixtures = build(root, options.wheel)
        with nginx(root, static, fixtures.upstream) as server:
            yield Bench(
                root=root, fixtures=fixtures, static=static, nginx=server, old=old,
                before=before, seconds=options.seconds, rounds=options.rounds,
            )  # fmt: skip


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in tables.COLUMNS:
        table.add_column(column, justify="left" if column in tables.TEXTS else "right")
    for row in rows:
        table.add_row(*tables.cells(row))
    return table


if __name__ == "__main__":
    main()
