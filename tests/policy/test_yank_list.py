"""Files of yanked files: JSON of globs, and SQLite."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from packaging.version import Version

from simple_repository_server.errors import Malformed
from simple_repository_server.names import ProjectName
from simple_repository_server.policy.yank_list import (
    ProjectYanks,
    YankList,
    parse_yank_json,
    read_yank_file,
)

NUMPY = ProjectName("numpy")


def database(path: Path, *statements: str) -> Path:
    """A new database, written by these statements."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return path


VERSIONS = "create table yanked_versions (project_name TEXT, version TEXT, reason TEXT)"
RELEASES = "create table yanked_releases (project_name TEXT, file_name TEXT, reason TEXT)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", {}),
        ('{"numpy": ["*.exe", "old"]}', {NUMPY: ProjectYanks(globs={"*.exe": "old"})}),
        ('{"numpy": {"*.exe": "old", "*": ""}}', {NUMPY: ProjectYanks({"*.exe": "old", "*": ""})}),
        ('{"NumPy": {"a": "1"}, "numpy": ["a", "2"]}', {NUMPY: ProjectYanks(globs={"a": "1"})}),
        ('{"Foo_Bar.baz": {}}', {ProjectName("foo-bar-baz"): ProjectYanks()}),
    ],
)
def test_json(text: str, expected: YankList) -> None:
    """Both shapes are read, and names are normalised; of two reasons the first counts."""
    assert parse_yank_json(text.encode()) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "neither JSON nor SQLite"),
        ('{"numpy": [', "neither JSON nor SQLite"),
        ("[" * 100_000, "neither JSON nor SQLite"),
        ("42", "must be an object"),
        ('["a", "b"]', "must be an object"),
        ('{"numpy": "*"}', "numpy: expected a glob and a reason"),
        ('{"numpy": ["*"]}', "numpy: expected a glob and a reason"),
        ('{"numpy": ["*", 1]}', "numpy: expected a glob and a reason"),
        ('{"numpy": [[], "a"]}', "numpy: expected a glob and a reason"),
        ('{"numpy": {"*": null}}', "numpy: expected a glob and a reason"),
        ('{"numpy": ["", "a"]}', "numpy: a glob is empty"),
        ('{"../a": ["*", "a"]}', "'../a' is not a valid project name"),
        ('{"a": 1, "b": 2}', "a: expected .*; b: expected"),
        ('{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}', "and 2 more mistakes"),
    ],
)
def test_mistakes_in_json(text: str, message: str) -> None:
    """Each is named, with its project, and the document is not used at all."""
    with pytest.raises(Malformed, match=message):
        parse_yank_json(text.encode())


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("numpy-1.0.exe", "exe"),
        ("numpy-1.0.tar.gz", "all of 1.0"),
        ("numpy-1.0-cp311-none-any.whl", "named"),
        ("numpy-2.0.tar.gz", None),
        ("NUMPY-1.0.EXE", None),
    ],
)
def test_reasons_for_files(filename: str, expected: str | None) -> None:
    """A file's own name counts first, then the first glob that matches it, by case."""
    yanks = ProjectYanks(
        globs={"*.exe": "exe", "numpy-1.0*": "all of 1.0"},
        files={"numpy-1.0-cp311-none-any.whl": "named"},
    )
    assert yanks.reason_for_file(filename) == expected


def test_sqlite(tmp_path: Path) -> None:
    """Versions and file names are read, names normalised, versions compared as versions."""
    path = database(
        tmp_path / "yanks.sqlite",
        VERSIONS,
        RELEASES,
        "insert into yanked_versions values ('numpy', '1.0', 'bad'), ('NumPy', '2', null)",
        "insert into yanked_releases values ('numpy', 'numpy-3.0.tar.gz', '')",
    )
    yanks = read_yank_file(path)[NUMPY]
    assert yanks.reason_for_version(Version("1.0.0")) == "bad"
    assert yanks.reason_for_version(Version("2.0")) == ""
    assert yanks.reason_for_version(Version("1.1")) is None
    assert yanks.reason_for_version(None) is None
    assert yanks.reason_for_file("numpy-3.0.tar.gz") == ""


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["create table other (a)"], "neither a table yanked_versions nor yanked_releases"),
        (["create table yanked_versions (a)"], "not usable .*project_name"),
        ([VERSIONS, "insert into yanked_versions values ('a', 'x y', '')"], "'x y' is not a ver"),
        ([VERSIONS, "insert into yanked_versions values ('a', null, '')"], "None is not a name"),
        ([RELEASES, "insert into yanked_releases values ('-', 'a', '')"], "'-' is not a valid"),
    ],
)
def test_mistakes_in_sqlite(tmp_path: Path, statements: list[str], message: str) -> None:
    """Each is named, and the database is not used at all."""
    with pytest.raises(Malformed, match=message):
        read_yank_file(database(tmp_path / "yanks.sqlite", *statements))


def test_truncated_sqlite(tmp_path: Path) -> None:
    """A database without its end is corrupt."""
    path = database(tmp_path / "yanks.sqlite", VERSIONS, RELEASES)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(Malformed, match="not usable"):
        read_yank_file(path)


def test_locked_sqlite(tmp_path: Path) -> None:
    """A database that another program is writing is no mistake, but cannot be read now."""
    path = database(tmp_path / "yanks.sqlite", VERSIONS)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("begin exclusive")
        with pytest.raises(OSError, match="locked"):
            read_yank_file(path)


def test_sqlite_is_not_changed(tmp_path: Path) -> None:
    """It is opened for reading only, by any name, and nothing is created beside it."""
    folder = tmp_path / "yanks"
    folder.mkdir()
    path = database(folder / "a?b#c%20.sqlite", VERSIONS)
    before = path.read_bytes()
    assert read_yank_file(path) == {}
    assert path.read_bytes() == before
    assert list(folder.iterdir()) == [path]
