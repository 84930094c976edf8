"""Reading the records that changed into the store: run in a process of its own.

Parsing 250,000 records would hold up a server's event loop, even from a thread. Nothing is parsed
again that has the stamp it had, and a file that has become unusable is reported, while what it said
before still counts. Either all of it is stored or nothing.
"""

import gc
import json
import os
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from simple_repository_server.advisories.found import (
    ArchiveRecords,
    FoundFile,
    Records,
    open_records,
    part,
)
from simple_repository_server.advisories.records import ForeignRecord, parse_record
from simple_repository_server.advisories.store import (
    AdvisoryStore,
    StoredState,
    Writer,
    count,
    known_stamps,
    read_state,
    write_state,
)
from simple_repository_server.errors import Malformed, os_reason

#: How many rejected files are named in one reading.
MAX_NAMED = 20
_MATCHES_NOTHING = (
    "it has no versions and no range of type ECOSYSTEM or SEMVER, so it matches nothing"
)
_MASK = 2**63 - 1
_NICE = 5


class Report(msgspec.Struct, kw_only=True):
    """What one reading did."""

    #: Files that were read, as they were new or had changed.
    read: int = 0
    removed: int = 0
    #: Files that were rejected, of those that were read; and some of them, with the reason.
    rejected: int = 0
    named: list[tuple[str, str]] = []
    #: Records about PyPI, now.
    records: int = 0
    duration_s: float = 0.0
    #: Why the folder or archive cannot be read now; then nothing was stored. "" if it can.
    unreadable: str = ""


def read_changes(source: Path, store: AdvisoryStore) -> Report:
    """Bring the store up to date. Raises `sqlite3.Error`, busy if another process is doing it."""
    began_at = time.monotonic()
    report = Report()
    with store.connected() as connection, connection:
        connection.execute("begin immediate")
        try:
            state = _Reading(connection, report).run(source)
        except OSError as error:
            connection.rollback()
            report.unreadable = cannot_read(error)
        else:
            write_state(connection, state)
            report.records = state.records
    report.duration_s = time.monotonic() - began_at
    return report


def cannot_read(error: OSError) -> str:
    """Why a folder or archive cannot be read, to stand after its path."""
    where = f"{error.filename}: " if error.filename else ""
    return f"cannot be read ({where}{os_reason(error)})"


class _Reading:
    """One reading into a database, of which a transaction is open."""

    def __init__(self, connection: sqlite3.Connection, report: Report) -> None:
        self._connection = connection
        self._report = report
        self._before = read_state(connection)
        self._gone = known_stamps(connection)
        self._writer = Writer(connection)
        self._foreign: Counter[str] = Counter()
        self._files = 0

    def run(self, source: Path) -> StoredState:
        """Read what changed; returns the new state. Raises `OSError`."""
        records = open_records(source)
        try:
            fingerprint = self._read_all(records)
        except Malformed as error:
            return self._broken(records, str(error))
        except sqlite3.IntegrityError:
            return self._broken(records, "it has two files of one name")
        finally:
            if isinstance(records, ArchiveRecords):
                records.close()
        self._report.removed = len(self._gone)
        found, rejected = count(self._connection)
        return StoredState(
            revision=self._before.revision + 1,
            fingerprint=fingerprint,
            records=found,
            rejected=rejected,
            problem="" if found else self._nothing_found(rejected),
            warning=_rejected_files(rejected),
        )

    def _read_all(self, records: Records) -> int:
        combined = 0
        for file in records.files():
            self._files += 1
            known = self._gone.pop(file.path, None)
            if known != file.stamp:
                self._read(records, file, is_new=known is None)
            combined += part(file.path, file.stamp)
        self._writer.remove(self._gone)
        self._writer.flush()
        whole = records.fingerprint()
        return combined & _MASK if whole is None else whole

    def _read(self, records: Records, file: FoundFile, *, is_new: bool) -> None:
        self._report.read += 1
        try:
            content, stamp = records.read(file)
        except FileNotFoundError:
            if not is_new:
                self._writer.remove((file.path,))
            return
        except Malformed as error:
            self._rejected(file, str(error))
            self._writer.reject(file.path, file.stamp, str(error), is_new=is_new)
            return
        problem = None
        try:
            advisories = parse_record(content)
            if any(advisory.matches_nothing for advisory in advisories.values()):
                problem = _MATCHES_NOTHING
                self._rejected(file, problem)
        except ForeignRecord as error:
            self._foreign[error.ecosystem] += 1
            problem, advisories = str(error), {}
            self._rejected(file, problem)
        except Malformed as error:
            self._rejected(file, str(error))
            self._writer.reject(file.path, stamp, str(error), is_new=is_new)
            return
        rows = advisories.items()
        self._writer.put(file.path, stamp, rows, is_new=is_new, problem=problem)

    def _rejected(self, file: FoundFile, reason: str) -> None:
        self._report.rejected += 1
        if len(self._report.named) < MAX_NAMED:
            self._report.named.append((file.path, reason))

    def _broken(self, records: Records, reason: str) -> StoredState:
        """The state after an archive turned out to be broken: what it said before counts."""
        self._connection.rollback()
        self._connection.execute("begin immediate")
        had_records = self._before.records > 0
        self._report.rejected += 1
        self._report.named.append(("", reason))
        text = f"cannot be read ({reason})"
        return msgspec.structs.replace(
            self._before,
            revision=self._before.revision + 1,
            fingerprint=records.fingerprint(),
            problem="" if had_records else text,
            warning=f"{text}, so its earlier records are in use" if had_records else "",
        )

    def _nothing_found(self, rejected: int) -> str:
        if self._foreign and self._foreign.total() == rejected:
            names = ", ".join(sorted(self._foreign)[:3])
            return f"has records about {names} only, none about PyPI"
        if self._files:
            return f"has no OSV record about PyPI in its {self._files} files"
        return "has no OSV records (*.json)"


def _rejected_files(count: int) -> str:
    """What is wrong with a folder or archive with so many unusable files, to stand after it."""
    if count == 1:
        return "has 1 file that is no usable record about PyPI"
    return f"has {count} files that are no usable records about PyPI" if count else ""


def main(arguments: dict[str, Any]) -> None:
    """Read the changes of `source` into `database`, and write the report to stdout, as JSON."""
    os.nice(_NICE)
    gc.disable()  # it lives for seconds, and its many objects are in no circles
    store = AdvisoryStore(Path(arguments["database"]))
    try:
        report = read_changes(Path(arguments["source"]), store)
        store.shrink()
    finally:
        store.close()
    sys.stdout.write(json.dumps(msgspec.to_builtins(report)))
