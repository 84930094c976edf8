"""Files of a directory: four sizes through memory, `sendfile` and chunks, and ranges."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.fixtures import FILE_PROJECT, LocalFile
from bench.load import fetch_ok
from bench.results import OLD, Row, single
from bench.scenario import Bench, Target, Targets, compared
from bench.servers import Running, has_option, old_release, ours, ours_under

_CLIENTS, _CLIENTS_OF_LARGE = 16, 8
RANGE = {"Range": "bytes=1000000-16999999"}
#: What sends small files from memory; other sizes go by `sendfile`.
_SMALL = "--small-files"


def local_files(bench: Bench) -> Iterator[Row]:
    """Each size each way, beside nginx; ranges of the largest; memory; the old release."""
    packages = str(bench.fixtures.packages)
    for file in bench.fixtures.sized.values():
        bench.link(file)
    with ExitStack() as stack:
        ways: dict[str, Running] = {}
        if has_option(_SMALL):
            given = (_SMALL, "256kB", packages)
            ways["from memory"] = stack.enter_context(ours(bench.root, *given))
            ways["sendfile"] = stack.enter_context(ours(bench.root, _SMALL, "0", packages))
        else:
            ways["sendfile"] = stack.enter_context(ours(bench.root, packages))
        ways["chunks"] = stack.enter_context(ours_under("uvicorn", bench.root, packages))
        for called, file in bench.fixtures.sized.items():
            for way, server in ways.items():
                if way != "from memory" or called in {"1 kB", "74 kB"}:
                    yield _row(bench, called, file, way, server)
        yield from _ranges(bench, ways)
        for way, server in ways.items():
            yield single(f"memory after these files, {way}", "MB", server.memory_mb())
    if bench.old is not None:
        yield from _old_file(bench)


def file_targets(bench: Bench, file: LocalFile, server: Running) -> Targets:
    """A file of the directory, and nginx with the same file; both were seen to send it."""
    targets = {
        "nginx": bench.static_file(file.path.name),
        "ours": Target(server, server.url + file.target),
    }
    for target in targets.values():
        if len(fetch_ok(target.url)[1]) != file.path.stat().st_size:
            raise RuntimeError(f"{target.url}: not all of the file came")
    return targets


def _row(bench: Bench, called: str, file: LocalFile, way: str, server: Running) -> Row:
    large = called == "17 MB"
    clients = _CLIENTS_OF_LARGE if large else _CLIENTS
    name = f"{called} file, {way}, {clients} clients"
    figure = "mb_per_s" if large else "per_s"
    return compared(bench, name, file_targets(bench, file, server), clients, figure=figure)


def _ranges(bench: Bench, ways: dict[str, Running]) -> Iterator[Row]:
    for way in ("sendfile", "chunks"):
        targets = {
            name: Target(one.server, one.url, RANGE)
            for name, one in file_targets(bench, bench.fixtures.sized["17 MB"], ways[way]).items()
        }
        for target in targets.values():
            fetch_ok(target.url, RANGE, status=206)
        name = f"16 MB range of the 17 MB file, {way}, {_CLIENTS_OF_LARGE} clients"
        yield compared(bench, name, targets, _CLIENTS_OF_LARGE, figure="mb_per_s")


def _old_file(bench: Bench) -> Iterator[Row]:
    assert bench.old is not None
    packages = str(by_project(bench))
    path = bench.fixtures.sized["17 MB"].target
    with old_release(bench.old, bench.root, packages) as old, ours(bench.root, packages) as own:
        targets = {"ours": Target(own, own.url + path), OLD: Target(old, old.url + path)}
        name = f"17 MB file, {_CLIENTS_OF_LARGE} clients, against the old release"
        yield compared(bench, name, targets, _CLIENTS_OF_LARGE, figure="mb_per_s")


def by_project(bench: Bench) -> Path:
    """The layout the old release understands: a folder per project."""
    root = bench.root / "by-project"
    folder = root / FILE_PROJECT
    if not folder.exists():
        file = bench.fixtures.sized["17 MB"].path
        folder.mkdir(parents=True)
        (folder / file.name).hardlink_to(file)
    return root
