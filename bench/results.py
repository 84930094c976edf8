"""Measured figures by server, rows of them, and the results file."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

_PACKAGES = ("simple-repository-server", "uvicorn", "httptools", "uvloop", "granian")
OLD = "0.10"


class Figure(msgspec.Struct, frozen=True):
    """The figure of one server, with CPU time and latencies of the same load."""

    value: float
    #: CPU time of the whole process tree for each answer.
    cpu_us: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the result: a figure of each server, measured in turns in one run."""

    scenario: str = ""
    name: str
    unit: str
    #: By server: `ours` always, `nginx`, and others.
    figures: dict[str, Figure]
    #: More is better (requests per second), or less (milliseconds, bytes, MB).
    more_is_better: bool = True
    note: str = ""

    @property
    def ours(self) -> Figure:
        """Our own figure."""
        return self.figures["ours"]

    @property
    def nginx(self) -> Figure | None:
        """That of nginx, if it was measured."""
        return self.figures.get("nginx")

    @property
    def others(self) -> dict[str, Figure]:
        """The figures of the other servers, by their names."""
        return {name: figure for name, figure in self.figures.items() if name not in _NAMED}

    @property
    def other(self) -> tuple[str, Figure] | None:
        """The name and the figure of the first of the other servers, if there is one."""
        return next(iter(self.others.items()), None)

    def ratio(self, other: Figure | None) -> float | None:
        """How ours compares; above 1 ours is better. None where one of them is missing or 0."""
        if other is None or not other.value or not self.ours.value:
            return None
        ratio = self.ours.value / other.value
        return ratio if self.more_is_better else 1 / ratio


_NAMED = ("ours", "nginx")


def single(
    name: str,
    unit: str,
    ours: float,
    *,
    nginx: float | None = None,
    old: float | None = None,
    more_is_better: bool = False,
    note: str = "",
) -> Row:
    """A row of plain figures, of which less is better unless `more_is_better`."""
    given = {"ours": ours, "nginx": nginx, OLD: old}
    figures = {server: Figure(value) for server, value in given.items() if value is not None}
    return Row(
        name=name, unit=unit, figures=figures, more_is_better=more_is_better, note=note
    )  # fmt: skip


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Where, when and of what rows were measured."""

    command: str
    date: str
    commit: str
    machine: str
    versions: dict[str, str]


class Run(msgspec.Struct, frozen=True):
    """Rows measured by one command."""

    conditions: Conditions
    rows: list[Row]


class Results(msgspec.Struct, frozen=True):
    """All rows of a results file; each scenario's are of its last run."""

    runs: list[Run]

    @property
    def rows(self) -> list[Row]:
        """The rows of all runs."""
        return [row for run in self.runs for row in run.rows]


def read(path: Path) -> Results:
    """The results in a file; raises `OSError` and `msgspec.DecodeError`."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(path: Path, run: Run) -> None:
    """Put the run into the file, in the place of what its scenarios had there."""
    earlier = read(path).runs if path.exists() else []
    results = msgspec.json.encode(merge(earlier, run))
    path.write_bytes(msgspec.json.format(results, indent=1) + b"\n")


def merge(earlier: list[Run], run: Run) -> Results:
    """The earlier runs without the scenarios that were run again, and the new one.

    What was measured by one command is one run, also if it comes scenario by scenario.
    """
    again = {row.scenario for row in run.rows}
    kept = [
        Run(one.conditions, [r for r in one.rows if r.scenario not in again]) for one in earlier
    ]
    if kept and kept[-1].conditions == run.conditions:
        run = Run(run.conditions, [*kept.pop().rows, *run.rows])
    return Results([one for one in [*kept, run] if one.rows])


def conditions(arguments: list[str], nginx: str = "", *, module: str = "bench.run") -> Conditions:
    """The present ones; of paths only the names, which is all that others can use."""
    given = [Path(text).name if text.startswith("/") else text for text in arguments]
    return Conditions(
        command=" ".join(["python", "-m", module, *given]),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        commit=_commit(),
        machine=f"{os.cpu_count()} cores of {_processor()}",
        versions={"python": platform.python_version()}
        | ({"nginx": _nginx_version(nginx)} if nginx else {})
        | {name: found for name in _PACKAGES if (found := _version(name))},
    )


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run(
        [*git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return head.stdout.strip() or "unknown"


def _processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.machine()


def _nginx_version(nginx: str) -> str:
    done = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True)
    return done.stderr.strip().rpartition("/")[2]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
