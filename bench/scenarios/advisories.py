"""250,000 OSV records: read for the first time, after a restart, and after one of them changed."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.results import Row, single
from bench.scenario import Bench
from simple_repository_server.advisories.advisories import Advisories
from simple_repository_server.advisories.store import database_path
from simple_repository_server.names import ProjectName

RECORDS = 250_000
_PROJECTS = 60_000
_WAIT_S = 600.0
#: Reads into a database as the server has it done, and reports the peak of its memory besides.
_READ = """
import json, resource, sys, time
from pathlib import Path
began_at = time.monotonic()
from simple_repository_server.advisories.reading import main
main({"source": sys.argv[1], "database": sys.argv[2]})
wall_s = time.monotonic() - began_at
used = resource.getrusage(resource.RUSAGE_SELF)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
facts = {"wall_s": wall_s, "cpu_s": used.ru_utime + used.ru_stime, "mb": int(peak.split()[1]) / 1e3}
sys.stderr.write(json.dumps(facts))
"""


class _Cost(msgspec.Struct):
    wall_s: float
    cpu_s: float
    mb: float


def advisories(bench: Bench) -> Iterator[Row]:
    """What reading them costs, as a folder and as a zip archive, and how fast a restart is."""
    root = bench.root / "advisories"
    folder, archive = root / "osv", root / "all.zip"
    _write(folder, archive)
    for source, kind in ((folder, "folder"), (archive, "zip archive")):
        yield from _reading(source, root / f"state-{source.name}", kind)
    shutil.rmtree(root)


def _reading(source: Path, state: Path, kind: str) -> Iterator[Row]:
    what = f"{RECORDS:,} OSV records in a {kind}"
    database = database_path(state, source)
    cost = _read(source, database)
    note = f"{cost.wall_s:.1f} s of wall clock"
    yield single(f"{what}: read, CPU time", "s", cost.cpu_s, note=note)
    yield single(f"{what}: read, peak memory", "MB", cost.mb)
    yield single(f"{what}: ready after a restart", "ms", asyncio.run(_ready_s(source, state)) * 1e3)
    cost = _read(source, database)
    note = f"{cost.mb:.0f} MB"
    yield single(f"{what}: read again, nothing changed, CPU time", "s", cost.cpu_s, note=note)


def _read(source: Path, database: Path) -> _Cost:
    command = [sys.executable, "-c", _READ, str(source), str(database)]
    done = subprocess.run(command, capture_output=True, check=True)
    return msgspec.json.decode(done.stderr, type=_Cost)


async def _ready_s(source: Path, state: Path) -> float:
    """How long it takes until a project is looked up, after the server starts."""
    began_at = time.monotonic()
    async with Advisories(source, state=state) as advisories:
        await advisories.until_ready(_WAIT_S)
        await advisories.for_project(ProjectName("project-5"))
        return time.monotonic() - began_at


def _write(folder: Path, archive: Path) -> None:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for number in range(RECORDS):
            name, content = _record(number)
            (folder / name).write_bytes(content)
            packed.writestr(name, content)


def _record(number: int) -> tuple[str, bytes]:
    """A record of usual size: nine of ten are about malicious packages, as at OSV."""
    project = f"project-{number * 7919 % _PROJECTS}"
    malicious = number % 10 != 0
    name = f"{'MAL' if malicious else 'PYSEC'}-2026-{number}"
    versions = ["1.0.0", "1.0.1"] if malicious else [f"{number % 9}.{n}" for n in range(60)]
    events = [{"introduced": "0"}]
    if not malicious:
        events.append({"fixed": f"{number % 9}.60"})
    record = {
        "schema_version": "1.7.0",
        "id": name,
        "modified": "2026-08-01T12:00:00Z",
        "published": "2026-08-01T12:00:00Z",
        "aliases": [f"CVE-2026-{number}"],
        "summary": "A defect that lets others do what they should not",
        "details": "Whoever sends a crafted request can read files of others. " * 12,
        "affected": [
            {
                "package": {
                    "ecosystem": "PyPI",
                    "name": project,
                    "purl": f"pkg:pypi/{project}",
                },
                "ranges": [{"type": "ECOSYSTEM", "events": events}],
                "versions": versions,
            }
        ],
        "references": [{"type": "WEB", "url": f"https://advisories.invalid/{name}"}] * 3,
    }
    return f"{name}.json", json.dumps(record).encode()
