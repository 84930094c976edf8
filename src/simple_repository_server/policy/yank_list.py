"""Which files an operator yanks, as read from a file: JSON of globs, or SQLite (pure parsing).

Both are those of the library `simple-repository`. JSON maps each project to one glob of file names
with a reason (`{"numpy": ["*.exe", "unsupported"]}`) or to several (`{"numpy": {"*.exe": "…"}}`).
The database has the tables `yanked_versions` (project_name, version, reason) and `yanked_releases`
(project_name, file_name, reason).
"""

import errno
import fnmatch
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from packaging.version import Version

from simple_repository_server.disk.database import is_busy
from simple_repository_server.distributions.filenames import parse_version
from simple_repository_server.errors import InvalidName, Malformed
from simple_repository_server.names import ProjectName

_SQLITE = b"SQLite format 3\0"
_MAX_BYTES = 64_000_000
_MAX_ROWS = 1_000_000
_BUSY_S = 2.0
_SHOWN_MISTAKES = 3
_TABLES = {"yanked_versions": "version", "yanked_releases": "file_name"}
_SHAPE = "expected a glob and a reason in a list, or an object of globs and reasons"


class ProjectYanks(msgspec.Struct):
    """What is yanked of one project, with the reasons; "" for no reason."""

    globs: dict[str, str] = {}
    files: dict[str, str] = {}
    versions: dict[Version, str] = {}

    def reason_for_file(self, filename: str) -> str | None:
        """Why this file is yanked, by its name; None if it is not."""
        if filename in self.files:
            return self.files[filename]
        for glob, reason in self.globs.items():
            if fnmatch.fnmatchcase(filename, glob):
                return reason
        return None

    def reason_for_version(self, version: Version | None) -> str | None:
        """Why all files of the version are yanked; None if they are not."""
        return self.versions.get(version) if version is not None else None


YankList = Mapping[ProjectName, ProjectYanks]


def read_yank_file(path: Path) -> YankList:
    """What the file yanks, by project. Blocks.

    Raises `OSError` if it cannot be read (now), and `Malformed`, which names the mistakes in it.
    """
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise Malformed(f"it is larger than {_MAX_BYTES // 1000**2} MB")
    return _read_sqlite(path) if data.startswith(_SQLITE) else parse_yank_json(data)


def parse_yank_json(data: bytes) -> YankList:
    """What the JSON document yanks. Raises `Malformed`."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(f"it is neither JSON nor SQLite ({error})") from error
    if not isinstance(document, dict):
        raise Malformed("it must be an object that maps projects to globs and reasons")
    yanks: dict[ProjectName, ProjectYanks] = {}
    mistakes: list[str] = []
    for name, value in document.items():
        try:
            globs = yanks.setdefault(ProjectName(name), ProjectYanks()).globs
            for glob, reason in _globs(value):
                globs.setdefault(glob, reason)
        except InvalidName as error:
            mistakes.append(str(error))
        except ValueError as error:
            mistakes.append(f"{name}: {error}")
    _raise_any(mistakes)
    return yanks


def _globs(value: Any) -> Iterable[tuple[str, str]]:
    """The globs of a project with their reasons. Raises `ValueError`."""
    if isinstance(value, list) and len(value) == len(("glob", "reason")):
        value = dict([value]) if isinstance(value[0], str) else None
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError(_SHAPE)
    if "" in value:
        raise ValueError("a glob is empty")
    return value.items()


def _raise_any(mistakes: list[str]) -> None:
    if mistakes:
        shown = "; ".join(one.removesuffix(".") for one in mistakes[:_SHOWN_MISTAKES])
        more = len(mistakes) - _SHOWN_MISTAKES
        raise Malformed(f"{shown}; and {more} more mistakes" if more > 0 else shown)


def _read_sqlite(path: Path) -> YankList:
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as connection:
            return _read_tables(connection)
    except sqlite3.Error as error:
        if is_busy(error) or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CANTOPEN:
            raise OSError(errno.EBUSY, str(error)) from error
        raise Malformed(f"its database is not usable ({error})") from error


def _read_tables(connection: sqlite3.Connection) -> YankList:
    names = {row[0] for row in connection.execute("select name from sqlite_master")}
    present = [table for table in _TABLES if table in names]
    if not present:
        raise Malformed("its database has neither a table yanked_versions nor yanked_releases")
    yanks: dict[ProjectName, ProjectYanks] = {}
    mistakes: list[str] = []
    for table in present:
        query = f"select project_name, {_TABLES[table]}, reason from {table} limit {_MAX_ROWS + 1}"  # noqa: S608 - constants
        rows = connection.execute(query).fetchall()
        if len(rows) > _MAX_ROWS:
            raise Malformed(f"its table {table} has more than {_MAX_ROWS:,} rows")
        for project, what, reason in rows:
            try:
                _add(yanks, project, what, reason, versions=table == "yanked_versions")
            except (InvalidName, ValueError) as error:
                mistakes.append(f"{table}: {error}")
    _raise_any(mistakes)
    return yanks


def _add(
    yanks: dict[ProjectName, ProjectYanks],
    project: object,
    what: object,
    reason: object,
    *,
    versions: bool,
) -> None:
    """Add a row. Raises `InvalidName` and `ValueError`."""
    if not isinstance(project, str) or not isinstance(what, str) or not what:
        raise ValueError(f"{project!r}, {what!r} is not a name with a version or file")
    text = reason if isinstance(reason, str) else ""
    of_project = yanks.setdefault(ProjectName(project), ProjectYanks())
    if not versions:
        of_project.files[what] = text
        return
    version = parse_version(what)
    if version is None:
        raise ValueError(f"{what!r} is not a version (of {project})")
    of_project.versions[version] = text
