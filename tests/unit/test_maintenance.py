"""Maintaining the cache on disk: finding damage, pruning, clearing, disk usage."""

import asyncio
import contextlib
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simple_repository_server.disk.contents import items
from simple_repository_server.disk.entries import BrokenEntry
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import (
    KINDS,
    LINKS,
    METADATA,
    PAGES,
    PARTIAL,
    PROJECTS,
    TAG,
)
from simple_repository_server.disk.links import Link
from simple_repository_server.disk.maintenance import NotACache, check_is_cache, clear, prune, usage
from simple_repository_server.disk.metadata_store import MetadataEntry
from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.disk.partial import PartialFile
from simple_repository_server.disk.secret_key import KEY_BYTES
from simple_repository_server.disk.verify import Damage, Verification

FIRST, SECOND, THIRD = b"first" * 3000, b"second" * 3000, b"third" * 3000
DAY_S = 24 * 3600.0


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _store(disk: CacheFolder, content: bytes, *, age_s: float = 3600.0) -> Path:
    file = disk.files.create()
    file.append([content])
    path = disk.files.store(file, _sha256(content)).path
    file.close()
    return _aged(path, age_s)


def _aged(path: Path, age_s: float) -> Path:
    now = time.time()
    os.utime(path, (now - age_s, now - age_s))
    return path


def _link(disk: CacheFolder, content: bytes, name: str = "1" * 64) -> Path:
    link = Link(sha256=_sha256(content), size=len(content), version=None, confirmed_at=0.0)
    disk.entries(LINKS, Link).save(link, b"", name[:2], name[2:])
    return disk.folder / "links" / name[:2] / name[2:]


@pytest.fixture
def disk(tmp_path: Path) -> CacheFolder:
    """A cache with a valid entry of every kind."""
    disk = CacheFolder(tmp_path / "cache")

    async def prepare() -> None:
        async with disk:
            pass

    asyncio.run(prepare())
    for content in (FIRST, SECOND):
        _store(disk, content)
    head = PageHead(
        url="u",
        content_type="t",
        coding="",
        validators={},
        validated_at=0,
        lifetime_s=0,
        stale_while_revalidate_s=0,
    )
    pages = disk.entries(PAGES, PageHead)
    for name in ("foo", "foo-bar2", ".list"):
        pages.save(head, b"page", "a" * 32, name)
    disk.entries(METADATA, MetadataEntry).save(MetadataEntry(), b"m", "foo", "b" * 40)
    _link(disk, FIRST)
    records = disk.cached_projects
    for content in (FIRST, THIRD):
        records.add("foo", _sha256(content))
    return disk


def _verify(disk: CacheFolder, *, dry_run: bool = False) -> list[Damage]:
    return list(Verification(disk, dry_run=dry_run).run())


def _tree(folder: Path) -> dict[str, tuple[int, float]]:
    return {
        str(path): (path.lstat().st_size, path.lstat().st_atime)
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


# --- verify --------------------------------------------------------------------------------------


def test_verify_finds_no_damage_in_a_valid_cache(disk: CacheFolder) -> None:
    """Nothing is found, changed, or marked as used in what servers have written."""
    file = PartialFile(disk.folder / PARTIAL)
    with contextlib.closing(file):
        before = _tree(disk.folder)
        assert _verify(disk) == []
        assert _tree(disk.folder) == before


def _truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _garbage_head(path: Path) -> None:
    path.write_bytes(b"\xff\xfe{[" + path.read_bytes())


def _deep_head(path: Path) -> None:
    path.write_bytes(b'{"x":' + b"[" * 100_000)


def _no_body(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: content.find(b"\n")])


def _link_to_elsewhere(path: Path) -> None:
    target = path.with_name("target")
    path.rename(_elsewhere(path) / "target")
    path.symlink_to(_elsewhere(path) / "target")
    assert not target.exists()


def _elsewhere(path: Path) -> Path:
    """A folder outside of the cache, where what is in it must stay."""
    folder = next(parent for parent in path.parents if parent.name == "cache").parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    return folder


def _folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"x")


def _pipe_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("kind", ["files", "pages", "metadata"])
@pytest.mark.parametrize(
    "harm",
    [
        _truncated,
        _flipped,
        _longer,
        _empty,
        _garbage_head,
        _deep_head,
        _no_body,
        _link_to_elsewhere,
        _folder_instead,
        _pipe_instead,
    ],
)
def test_verify_removes_a_corrupt_file_and_no_other(
    disk: CacheFolder, kind: str, harm: Callable[[Path], None]
) -> None:
    """Whatever happened to a file, a dry run names it, and a repair removes it and no other."""
    places = {
        "files": disk.files.path(_sha256(SECOND)),
        "pages": disk.folder / "pages" / ("a" * 32) / "foo",
        "metadata": disk.folder / "metadata" / "foo" / ("b" * 40),
    }
    path = places[kind]
    before = len(_tree(disk.folder))
    harm(path)
    assert [damage.path for damage in _verify(disk, dry_run=True)] == [path]
    assert os.path.lexists(path)
    (damage,) = _verify(disk)
    assert (damage.path, damage.repair, damage.failure) == (path, "removed", "")
    assert damage.reason
    assert not os.path.lexists(path)
    assert len(_tree(disk.folder)) == before - 1
    assert _verify(disk) == []
    if harm is _link_to_elsewhere:
        assert (_elsewhere(path) / "target").exists()


@pytest.mark.parametrize(
    "place",
    [
        "files/note.txt",
        "files/ab/" + "c" * 61,
        "files/ab/" + "C" * 62,
        "files/zz/" + "c" * 62,
        "pages/short/foo",
        f"pages/{'a' * 32}/Foo_Bar",
        f"pages/{'a' * 32}/foo.tmp",
        "metadata/foo/note",
        f"metadata/Foo/{'b' * 40}",
        "links/1",
        "served/Foo Bar",
        "served/new\nline\x1b[31m",
    ],
)
def test_verify_removes_files_with_invalid_names(disk: CacheFolder, place: str) -> None:
    """A name that no entry can have is damage."""
    path = disk.folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    (damage,) = _verify(disk)
    assert path.is_relative_to(damage.path)
    assert not path.exists()
    assert _verify(disk) == []


def test_verify_removes_a_file_under_the_digest_of_another(disk: CacheFolder) -> None:
    """Content under another digest is damage, however complete it is."""
    path = disk.files.path(_sha256(SECOND))
    path.write_bytes(THIRD)
    assert [damage.path for damage in _verify(disk)] == [path]


def test_verify_removes_links_and_records_with_their_file(disk: CacheFolder) -> None:
    """What refers only to a corrupt file goes in the same run: a second one finds nothing."""
    path = disk.files.path(_sha256(FIRST))
    _flipped(path)
    link, record = disk.folder / "links" / "11" / ("1" * 62), disk.cached_projects.folder / "foo"
    assert {damage.path for damage in _verify(disk, dry_run=True)} == {path, link, record}
    assert {damage.path for damage in _verify(disk)} == {path, link, record}
    assert _verify(disk) == []


def test_verify_removes_dangling_links(disk: CacheFolder) -> None:
    """A link whose file is gone, or that holds no digest, is removed."""
    lost = _link(disk, THIRD, "2" * 64)
    bad = Link(sha256="../../x", size=1, version=None, confirmed_at=0.0)
    disk.entries(LINKS, Link).save(bad, b"", "33", "3" * 62)
    assert {d.path for d in _verify(disk)} == {lost, disk.folder / "links" / "33" / ("3" * 62)}


def test_verify_retains_the_valid_lines_of_a_record(disk: CacheFolder) -> None:
    """A truncated line is taken out; a project record without a valid line is removed."""
    with (disk.cached_projects.folder / "foo").open("ab") as file:
        file.write(b"abc\xff\n" + _sha256(SECOND).encode()[:20])
    (disk.cached_projects.folder / "bar").write_bytes(b"\0" * 65)
    found = {damage.path.name: damage.repair for damage in _verify(disk)}
    assert found == {"foo": "corrected", "bar": "removed"}
    assert disk.cached_projects.digests_of("foo") == {_sha256(FIRST), _sha256(THIRD)}
    assert _verify(disk) == []


def test_verify_removes_partial_files_of_crashed_processes_only(disk: CacheFolder) -> None:
    """Garbage of a crash goes; a file that is being written, or was begun just now, stays."""
    folder = disk.folder / PARTIAL
    running = PartialFile(folder)
    _aged(running.path, 600)
    young = folder / "young.partial"
    young.write_bytes(b"x")
    old = folder / "old.partial"
    old.write_bytes(b"x")
    _aged(old, 600)
    assert [damage.path for damage in _verify(disk)] == [old]
    assert running.path.exists()
    assert young.exists()
    running.close()


def test_verify_corrects_permissions(disk: CacheFolder) -> None:
    """Where others can enter, only the owner may write, and can use all of it."""
    path = disk.files.path(_sha256(FIRST))
    path.chmod(0o666)
    assert _verify(disk) == [], "nobody else gets into the folder"
    disk.folder.chmod(0o775)
    path.parent.chmod(0o777)
    disk.cached_projects.folder.chmod(0o500)
    found = {damage.path: damage.repair for damage in _verify(disk)}
    assert found == dict.fromkeys(
        (disk.folder, path, path.parent, disk.cached_projects.folder), "permissions corrected"
    )
    assert [stat.S_IMODE(p.stat().st_mode) for p in (disk.folder, path)] == [0o755, 0o644]
    assert _verify(disk) == []


def test_verify_removes_links_and_files_instead_of_folders(
    disk: CacheFolder, tmp_path: Path
) -> None:
    """The target of a link is not touched."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_bytes(b"x")
    for name in ("metadata", "links"):
        (disk.folder / name).rename(tmp_path / name)
    (disk.folder / "metadata").symlink_to(other)
    (disk.folder / "links").write_bytes(b"")
    assert [damage.path.name for damage in _verify(disk)] == ["metadata", "links"]
    assert (other / "mine.txt").exists()


def test_verify_checks_the_key_and_the_change_file(disk: CacheFolder) -> None:
    """The key of the folder, and the file with project names, are their owner's alone."""
    key, changes = disk.folder / "key", disk.folder / "changes"
    key.write_bytes(bytes(KEY_BYTES))
    changes.write_text("foo\n")
    for path in (key, changes):
        path.chmod(0o600)
    assert _verify(disk) == []
    for path in (key, changes):
        path.chmod(0o644)
    assert {damage.path: damage.repair for damage in _verify(disk)} == {
        key: "permissions corrected",
        changes: "permissions corrected",
    }
    key.write_bytes(b"short")
    changes.unlink()
    changes.mkdir()
    assert {damage.path: damage.repair for damage in _verify(disk)} == {
        key: "removed",
        changes: "removed",
    }
    assert _verify(disk) == []


def test_foreign_files_in_the_folder_are_left_unchanged(disk: CacheFolder) -> None:
    """What lies beside our folders is listed, and never removed."""
    (disk.folder / "mine.txt").write_bytes(b"x")
    assert _verify(disk) == []
    assert Verification(disk).foreign() == ["mine.txt"]
    clear(disk)
    assert (disk.folder / "mine.txt").exists()


def test_files_evicted_or_replaced_during_verify_are_no_damage(disk: CacheFolder) -> None:
    """A cache that servers write to and evict from is valid all the time."""
    stop = threading.Event()

    def serve() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            content = b"%d" % number * 20_000
            path = _store(disk, content)
            _link(disk, content, "4" * 64)
            path.unlink()
            disk.files.path(_sha256(SECOND)).unlink(missing_ok=True)
            _store(disk, SECOND)

    server = threading.Thread(target=serve)
    server.start()
    try:
        for _ in range(40):
            found = [d for d in _verify(disk, dry_run=True) if "44" not in d.path.parts]
            assert found == []
    finally:
        stop.set()
        server.join()


def test_verify_can_be_stopped_between_two_repairs(disk: CacheFolder) -> None:
    """Closed after the first damage, it ends at once, with its threads."""
    for number in range(200):
        _flipped(_store(disk, b"%d" % number * 1000))
    run = Verification(disk).run()
    next(run)
    run.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("verify")]
    assert len(_verify(disk)) > 50


def test_verify_reports_what_it_cannot_repair(
    disk: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that does not remove a corrupt file yields a reason, not an exception."""
    _flipped(disk.files.path(_sha256(SECOND)))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    (damage,) = _verify(disk)
    assert (damage.repair, damage.failure) == ("", "read-only file system")


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"null\n", b'{"head":"\xff"}\n', b"\0" * 9])
def test_parsing_garbage_raises_broken_entry(disk: CacheFolder, content: bytes) -> None:
    """Whatever the bytes are, it is that error."""
    with pytest.raises(BrokenEntry):
        disk.entries(LINKS, Link).parse(content)


def test_verify_checks_every_file(disk: CacheFolder) -> None:
    """No folder of the cache is left out."""
    run = Verification(disk)
    list(run.run())
    inside = [path for path in disk.folder.rglob("*/*") if path.is_file()]
    assert run.files == len(inside)
    assert all(list(items(disk.folder, place)) for place in ("files", "pages", PROJECTS))


# --- prune, clear, usage -------------------------------------------------------------------------


def test_prune_evicts_the_least_recently_used_down_to_the_size(disk: CacheFolder) -> None:
    """And no further; a dry run reports the same."""
    for kind in ("pages", "metadata", "links"):
        for path in (disk.folder / kind).rglob("*"):
            if path.is_file():
                _aged(path, 60)
    old = _aged(disk.files.path(_sha256(FIRST)), 2 * DAY_S)
    new = disk.files.path(_sha256(SECOND))
    total = usage(disk).total
    planned = prune(disk, max_bytes=total.bytes - 1, unused_s=None, dry_run=True)
    assert old.exists()
    done = prune(disk, max_bytes=total.bytes - 1, unused_s=None)
    assert planned == done
    assert (done.evicted.files, old.exists(), new.exists()) == (1, False, True)
    assert done.garbage.files == 2, "its link, and the record of nothing else"
    assert done.left == usage(disk).total
    assert _verify(disk) == []


def test_prune_evicts_entries_unused_for_the_given_time(disk: CacheFolder) -> None:
    """What was used since stays, however small the rest."""
    old = _aged(disk.files.path(_sha256(SECOND)), 8 * DAY_S)
    done = prune(disk, max_bytes=None, unused_s=7 * DAY_S)
    assert (done.evicted.files, done.garbage.files, old.exists()) == (1, 0, False)
    assert disk.files.path(_sha256(FIRST)).exists()


def test_prune_spares_entries_in_use(disk: CacheFolder) -> None:
    """What was used just now may be on its way to a client: it stays at any size."""
    path = _aged(disk.files.path(_sha256(FIRST)), 1)
    assert prune(disk, max_bytes=0, unused_s=0).evicted.files == 1
    assert path.exists()


def test_clear_removes_all_but_files_being_written(disk: CacheFolder) -> None:
    """Folder, tag, lock and a running transfer stay, so that servers can continue."""
    running = disk.files.create()
    _aged(running.path, 600)
    before = usage(disk).total
    (disk.folder / "files" / "loop").symlink_to(disk.folder)
    removed = clear(disk)
    assert removed.bytes > before.bytes
    assert usage(disk).total.files == 0
    left = {str(path.relative_to(disk.folder)) for path in disk.folder.rglob("*")}
    partial = str(running.path.relative_to(disk.folder))
    assert left == {TAG, PARTIAL, partial, PROJECTS, *KINDS}
    running.append([THIRD])
    disk.files.store(running, _sha256(THIRD))
    running.close()
    assert _verify(disk) == []


def test_entries_can_be_written_while_the_cache_is_cleared(disk: CacheFolder) -> None:
    """Writers do not fail when folders vanish under them."""
    stop = threading.Event()

    def clearing() -> None:
        while not stop.is_set():
            clear(disk)

    thread = threading.Thread(target=clearing)
    thread.start()
    try:
        for number in range(500):
            _link(disk, b"%d" % number)
    finally:
        stop.set()
        thread.join()


def test_usage_adds_up_files_and_bytes_by_kind(disk: CacheFolder) -> None:
    """Files and their size on disk, as the budget counts them."""
    found = usage(disk)
    counts = {kind: amount.files for kind, amount in found.kinds.items()}
    assert counts == {"files": 2, "pages": 3, "metadata": 1, "links": 1}
    assert found.total.bytes == sum(amount.bytes for amount in found.kinds.values())
    assert found.oldest_use is not None
    assert found.newest_use is not None
    assert found.newest_use - found.oldest_use > 3000


@pytest.mark.parametrize("tag", [None, b"", b"Signature: 8a477f597d28d172789f06886806bc55\n"])
def test_a_folder_without_our_tag_is_not_a_cache(disk: CacheFolder, tag: bytes | None) -> None:
    """It is refused, also with the tag of another program."""
    assert check_is_cache(disk.folder)
    (disk.folder / TAG).unlink()
    if tag is not None:
        (disk.folder / TAG).write_bytes(tag)
    (disk.folder / "thesis.txt").write_text("years of work")
    with pytest.raises(NotACache, match="is not a simple-repository-server cache"):
        check_is_cache(disk.folder)
