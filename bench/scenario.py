"""The context of a scenario, and the comparison of servers in alternating rounds."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from bench.fixtures import Fixtures, LocalFile
from bench.load import Load, median, wrk
from bench.nginx import Nginx
from bench.results import Figure, Row
from bench.servers import Running


class Target(msgspec.Struct, frozen=True):
    """A request to one server."""

    server: Running
    url: str
    headers: Mapping[str, str] = {}


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a scenario needs."""

    root: Path
    fixtures: Fixtures
    #: What nginx serves as static files.
    static: Path
    nginx: Nginx
    #: The command of the old release, if it is to be measured.
    old: str | None
    #: The command of an earlier commit, if this one is to be compared with it.
    before: str | None = None
    seconds: int
    rounds: int

    @property
    def upstream_url(self) -> str:
        """Where nginx is the upstream."""
        return self.nginx.upstream_url

    def static_file(self, path: str, headers: Mapping[str, str] | None = None) -> Target:
        """A static file of nginx."""
        return Target(self.nginx.server, f"{self.nginx.static_url}/{path}", headers or {})

    def link(self, file: LocalFile) -> None:
        """Have nginx serve the file of the directory as well."""
        link = self.static / file.path.name
        if not link.exists():
            link.hardlink_to(file.path)

    def with_nginx(self, nginx: Nginx) -> "Bench":
        """The same with another nginx."""
        return msgspec.structs.replace(self, nginx=nginx)


#: The requests by server; `ours` is one of them.
Targets = Mapping[str, Target]
Scenario = Callable[[Bench], Iterator[Row]]
#: How load is put on an address.
Loading = Callable[..., Load]


def alternating(
    bench: Bench, targets: Targets, connections: int = 16, *, loading: Loading = wrk
) -> dict[str, Load]:
    """The medians of loads on each target in turn, round after round.

    Raises `RuntimeError` if a server answers errors or dies.
    """
    loads: dict[str, list[Load]] = {name: [] for name in targets}
    for _ in range(bench.rounds):
        for name, target in targets.items():
            with target.server.cpu() as cpu:
                load = loading(
                    target.url,
                    seconds=bench.seconds,
                    connections=connections,
                    headers=target.headers,
                )
            cpu_us = cpu.seconds / load.answers * 1e6
            loads[name].append(msgspec.structs.replace(load, cpu_us=cpu_us))
    return {name: median(found) for name, found in loads.items()}


def compared(
    bench: Bench,
    name: str,
    targets: Targets,
    connections: int = 16,
    *,
    figure: str = "per_s",
    loading: Loading = wrk,
) -> Row:
    """The row for alternating loads: answers (`per_s`) or bytes (`mb_per_s`) in a second."""
    return row_of(name, alternating(bench, targets, connections, loading=loading), figure)


def row_of(name: str, loads: Mapping[str, Load], figure: str = "per_s") -> Row:
    """The row for loads that were measured."""
    return Row(
        name=name,
        unit="req/s" if figure == "per_s" else "MB/s",
        figures={
            server: Figure(getattr(load, figure), load.cpu_us, load.p50_ms, load.p99_ms)
            for server, load in loads.items()
        },
    )
