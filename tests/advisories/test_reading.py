"""Reading folders and archives of records into the store: what is new, changed, gone, broken."""

import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simple_repository_server.advisories import found as limits
from simple_repository_server.advisories.found import fingerprint
from simple_repository_server.advisories.reading import MAX_NAMED, Report, read_changes
from simple_repository_server.advisories.store import AdvisoryStore
from simple_repository_server.names import ProjectName
from tests.advisories.osv import affected, range_of, record, write_folder, write_zip

Content = dict[str, dict[str, Any] | bytes]
FOO, BAR = ProjectName("foo"), ProjectName("bar")
ABOUT_FOO = record("PYSEC-1", affected("foo", versions=["1"]))
ABOUT_BAR = record("PYSEC-2", affected("bar", versions=["2"]))


class Place:
    """A folder or archive with records, and the store it is read into."""

    def __init__(self, path: Path, store: AdvisoryStore, write: Callable[[Content], None]) -> None:
        self.path = path
        self.store = store
        self.write = write

    def read(self) -> Report:
        """Bring the store up to date."""
        return read_changes(self.path, self.store)

    def versions(self, project: ProjectName) -> list[str]:
        """The affected versions of the project."""
        return [text for one in self.store.advisories(project)[0] for text in one.versions]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AdvisoryStore]:
    """A new store."""
    store = AdvisoryStore(tmp_path / "state" / "advisories.sqlite")
    yield store
    store.close()


@pytest.fixture
def folder(tmp_path: Path, store: AdvisoryStore) -> Place:
    """A folder."""
    root = tmp_path / "osv"
    root.mkdir()

    def write(content: Content) -> None:
        for old in [path for path in root.rglob("*") if path.is_file()]:
            if old.relative_to(root).as_posix() not in content:
                old.unlink()
        write_folder(root, content)

    return Place(root, store, write)


@pytest.fixture
def archive(tmp_path: Path, store: AdvisoryStore) -> Place:
    """A zip archive."""
    path = tmp_path / "all.zip"
    return Place(path, store, lambda content: write_zip(path, content))


@pytest.fixture(params=["folder", "archive"])
def place(request: pytest.FixtureRequest) -> Place:
    """A folder, and a zip archive."""
    found: Place = request.getfixturevalue(request.param)
    return found


def test_all_records_are_read(place: Place) -> None:
    """Every `*.json` is read, in folders below, too; other files are not."""
    place.write({"a.json": ABOUT_FOO, "vulns/bar/b.json": ABOUT_BAR, "readme.md": b"text"})
    report = place.read()
    assert (report.read, report.records, report.rejected) == (2, 2, 0)
    assert (place.versions(FOO), place.versions(BAR)) == (["1"], ["2"])
    assert place.store.state().fingerprint == fingerprint(place.path)
    assert not place.store.state().problem


def test_nothing_is_read_twice(place: Place) -> None:
    """What has not changed is not read again, by another process neither."""
    place.write({"a.json": ABOUT_FOO, "b.json": ABOUT_BAR})
    place.read()
    assert place.read().read == 0
    other = AdvisoryStore(place.store.path)
    assert read_changes(place.path, other).read == 0
    other.close()


def test_changed_new_and_deleted_files(place: Place) -> None:
    """Only what changed is read, and what was deleted says nothing any more."""
    place.write({"a.json": ABOUT_FOO, "b.json": ABOUT_BAR, "c.json": record("PYSEC-3")})
    place.read()
    before = fingerprint(place.path)
    changed = record("PYSEC-1", affected("foo", versions=["9"]), affected("new", versions=["7"]))
    place.write({"a.json": changed, "c.json": record("PYSEC-3"), "d.json": ABOUT_FOO})
    assert fingerprint(place.path) != before
    report = place.read()
    assert (report.read, report.removed) == (2, 1)
    assert sorted(place.versions(FOO)) == ["1", "9"]
    assert place.versions(ProjectName("new")) == ["7"]
    assert place.versions(BAR) == []


def test_a_file_that_breaks_keeps_what_it_said(place: Place) -> None:
    """A broken file is reported once, stops no other, and what it said before counts."""
    place.write({"a.json": ABOUT_FOO})
    place.read()
    place.write({"a.json": b"{", "b.json": ABOUT_BAR, "c.json": b"[]"})
    report = place.read()
    assert (report.read, report.rejected, report.records) == (3, 2, 2)
    assert {name for name, _ in report.named} == {"a.json", "c.json"}
    assert (place.versions(FOO), place.versions(BAR)) == (["1"], ["2"])
    assert "has 2 files that are no usable records" in place.store.state().warning
    assert place.read().rejected == 0
    place.write({"a.json": record("PYSEC-1"), "b.json": ABOUT_BAR})
    place.read()
    assert place.versions(FOO) == []
    assert not place.store.state().warning


def test_a_record_that_turns_to_another_ecosystem(place: Place) -> None:
    """It is reported, and says nothing about PyPI any more."""
    place.write({"a.json": ABOUT_FOO, "b.json": ABOUT_BAR})
    place.read()
    foreign = record("PYSEC-1", affected("foo", ecosystem="npm"))
    place.write({"a.json": foreign, "b.json": ABOUT_BAR})
    assert place.read().named == [("a.json", "it is about 'npm', not about PyPI")]
    assert place.versions(FOO) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"readme.md": b"text"}, "has no OSV records (*.json)"),
        ({"a.json": b"{", "b.json": b"[]"}, "has no OSV record about PyPI in its 2 files"),
        (
            {
                "a.json": record("GHSA-1", affected(ecosystem="npm")),
                "b.json": record("GHSA-2", affected(ecosystem="Go")),
            },
            "has records about Go, npm only, none about PyPI",
        ),
    ],
)
def test_no_record_about_pypi(place: Place, content: Content, problem: str) -> None:
    """A folder or archive without any is a problem: nothing may be judged by it."""
    place.write(content)
    place.read()
    assert place.store.state().problem == problem
    place.write({"a.json": ABOUT_FOO})
    place.read()
    assert not place.store.state().problem


def test_few_of_many_broken_files_are_named(folder: Place) -> None:
    """The report is bounded, and counts the others."""
    folder.write({f"{number}.json": b"{" for number in range(MAX_NAMED + 10)})
    report = folder.read()
    assert len(report.named) == MAX_NAMED
    assert report.rejected == MAX_NAMED + 10


def test_a_file_that_is_too_large(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beyond the limit is rejected without being read into memory."""
    monkeypatch.setattr(limits, "MAX_RECORD_BYTES", 100_000)
    place.write({"a.json": ABOUT_FOO, "big.json": {**ABOUT_BAR, "details": "x" * 200_000}})
    report = place.read()
    assert [name for name, _ in report.named] == ["big.json"]
    assert "larger than" in report.named[0][1]
    assert place.versions(FOO) == ["1"]


def test_a_large_file(place: Place) -> None:
    """A file that is larger than most is read as a whole."""
    place.write({"big.json": {"details": "x" * 300_000, **ABOUT_FOO}})
    assert place.read().rejected == 0
    assert place.versions(FOO) == ["1"]


def test_a_bomb(archive: Place) -> None:
    """A member that unpacks to more than its entry says is rejected, whatever the entry says."""
    archive.write({"a.json": {**ABOUT_FOO, "details": "x" * 50_000_000}, "b.json": ABOUT_BAR})
    assert "larger than" in archive.read().named[0][1]
    packed = bytearray(archive.path.read_bytes())
    entry = packed.index(b"PK\x01\x02")
    struct.pack_into("<L", packed, entry + 24, 1000)  # the unpacked size
    archive.path.write_bytes(packed)
    report = archive.read()
    assert report.named == [("a.json", "its member a.json is damaged")]
    assert archive.versions(BAR) == ["2"]


def test_an_archive_that_breaks(archive: Place) -> None:
    """The records of the archive before count; without any there is a problem."""
    archive.path.write_bytes(b"no archive")
    archive.read()
    assert "cannot be read (it is no zip archive" in archive.store.state().problem
    archive.write({"a.json": ABOUT_FOO})
    archive.read()
    assert not archive.store.state().problem
    archive.path.write_bytes(archive.path.read_bytes()[:-40])
    report = archive.read()
    assert report.rejected == 1
    assert archive.versions(FOO) == ["1"]
    assert not archive.store.state().problem
    assert "so its earlier records are in use" in archive.store.state().warning
    assert archive.store.state().fingerprint == fingerprint(archive.path)


def test_an_archive_with_two_members_of_one_name(archive: Place) -> None:
    """Which of them counts is undecided: the archive is refused."""
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(archive.path, "w") as packed,
    ):
        packed.writestr("a.json", b'{"id": "X-1"}')
        packed.writestr("a.json", b'{"id": "X-2"}')
    archive.read()
    assert "two files of one name" in archive.store.state().problem


def test_links_and_hidden_files(folder: Place, tmp_path: Path) -> None:
    """Links are followed, also to folders, but in no circle; hidden files and folders are not."""
    write_folder(tmp_path / "elsewhere", {"b.json": ABOUT_BAR})
    folder.write({".git/a.json": ABOUT_FOO, ".hidden.json": ABOUT_FOO, "sub/c.json": ABOUT_FOO})
    (folder.path / "link").symlink_to(tmp_path / "elsewhere")
    (folder.path / "sub" / "up").symlink_to(folder.path)
    (folder.path / "dangling.json").symlink_to("nowhere")
    report = folder.read()
    assert report.read == 2
    assert (folder.versions(FOO), folder.versions(BAR)) == (["1"], ["2"])


def test_names_that_are_no_text(folder: Place) -> None:
    """A file with any name is read."""
    write_folder(folder.path, {os.fsdecode(b"\xff\xfe.json"): ABOUT_FOO})
    assert folder.read().records == 1


def test_a_record_that_matches_nothing(place: Place) -> None:
    """A record whose ranges are all of other types is reported."""
    entry = {**affected(), "ranges": [range_of("introduced 0", kind="GIT")]}
    place.write({"a.json": record("PYSEC-1", entry), "b.json": ABOUT_BAR})
    (named,) = place.read().named
    assert named[0] == "a.json"
    assert "no range of type ECOSYSTEM" in named[1]


def test_an_unreadable_folder(folder: Place) -> None:
    """If a folder cannot be read nothing is stored, as its records would be missing."""
    folder.write({"a.json": ABOUT_FOO, "sub/b.json": ABOUT_BAR})
    folder.read()
    (folder.path / "sub").rename(folder.path.parent / "moved")
    folder.path.rename(folder.path.with_name("away"))
    report = folder.read()
    assert "cannot be read" in report.unreadable
    assert "no such file or directory" in report.unreadable
    assert folder.versions(BAR) == ["2"]


def test_a_fifo_is_no_record(folder: Place) -> None:
    """What is no regular file is not opened, so that nothing waits for it."""
    folder.write({"a.json": ABOUT_FOO})
    os.mkfifo(folder.path / "fifo.json")
    assert folder.read().read == 1


def test_a_file_replaced_by_one_of_the_same_size(folder: Place) -> None:
    """A change is noticed at once, even if size and name are the same."""
    folder.write({"a.json": ABOUT_FOO})
    folder.read()
    for version in "23456":
        folder.write({"a.json": record("PYSEC-1", affected("foo", versions=[version]))})
        folder.read()
        assert folder.versions(FOO) == [version]
