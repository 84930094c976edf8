"""Mistakes in the setting of a folder or archive of records."""

from collections.abc import Callable
from pathlib import Path

import pytest

from simple_repository_server.advisories.check import check_advisories
from tests.advisories.osv import affected, record, write_folder, write_zip

GOOD = record("PYSEC-1", affected())
FOREIGN = record("GHSA-1", affected(ecosystem="npm"))


def _nothing(path: Path) -> None:
    del path


@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_a_right_one(write: Callable[[Path, object], None], tmp_path: Path) -> None:
    """Nothing is wrong if one of the first files is a record about PyPI."""
    write(tmp_path / "osv", {"a.json": b"{", "b.json": FOREIGN, "c.json": GOOD})
    assert check_advisories(tmp_path / "osv") == []


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (_nothing, "cannot be read (PATH: no such file or directory)"),
        (lambda path: path.write_text("text"), "is no folder and no zip archive"),
        (lambda path: path.mkdir(), "has no OSV records (*.json)"),
        (
            lambda path: write_folder(path, {"a.json": b"{"}),
            "has no OSV records (a.json: it is not",
        ),
        (
            lambda path: write_folder(path, {"a.json": FOREIGN}),
            "has records about npm, not about P",
        ),
        (
            lambda path: write_zip(path, {"a.json": FOREIGN}),
            "has records about npm, not about PyPI",
        ),
        (
            lambda path: write_folder(path, {"all.zip": b"zip"}),
            "has no OSV records (*.json), but all.zip, which may be meant",
        ),
        (lambda path: write_zip(path, {"a.txt": b"text"}), "has no OSV records (*.json)"),
    ],
)
def test_a_mistake(write: Callable[[Path], None], problem: str, tmp_path: Path) -> None:
    """There is one sentence, which names the path, what is wrong and what to do."""
    path = tmp_path / "osv"
    write(path)
    (found,) = check_advisories(path)
    assert found.startswith(f"{path} {problem.replace('PATH', str(path))}")
    assert found.endswith("name the folder, or the zip archive, of the OSV records of PyPI")
