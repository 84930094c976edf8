"""Looking after the cache on disk: finding damage, making room, removing all."""

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


def _keep(disk: CacheFolder, content: bytes, *, age_s: float = 3600.0) -> Path:
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
    """A cache with something of every kind in it, all sound."""
    disk = CacheFolder(tmp_path / "cache")

    async def prepare() -> None:
        async with disk:
            pass

    asyncio.run(prepare())
    for content in (FIRST, SECOND):
        _keep(disk, content)
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
    notes = disk.cached_projects
    for content in (FIRST, THIRD):
        notes.add("foo", _sha256(content))
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


def test_a_sound_cache_is_sound(disk: CacheFolder) -> None:
    """Nothing is found, changed, or made to look used in what servers have written."""
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
def test_damage_is_found_and_removed(
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
def test_strangers_are_removed(disk: CacheFolder, place: str) -> None:
    """What has a name that nothing of ours has is damage."""
    path = disk.folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    (damage,) = _verify(disk)
    assert path.is_relative_to(damage.path)
    assert not path.exists()
    assert _verify(disk) == []


def test_a_file_by_a_wrong_digest_is_removed(disk: CacheFolder) -> None:
    """Content under the name of another is damage, however whole it is."""
    path = disk.files.path(_sha256(SECOND))
    path.write_bytes(THIRD)
    assert [damage.path for damage in _verify(disk)] == [path]


def test_links_and_notes_go_with_their_file(disk: CacheFolder) -> None:
    """What leads only to a damaged file goes in the same run: a second one finds nothing."""
    path = disk.files.path(_sha256(FIRST))
    _flipped(path)
    link, note = disk.folder / "links" / "11" / ("1" * 62), disk.cached_projects.folder / "foo"
    assert {damage.path for damage in _verify(disk, dry_run=True)} == {path, link, note}
    assert {damage.path for damage in _verify(disk)} == {path, link, note}
    assert _verify(disk) == []


def test_links_that_lead_nowhere_are_removed(disk: CacheFolder) -> None:
    """A link whose file is gone, or that names no digest, is removed."""
    lost = _link(disk, THIRD, "2" * 64)
    bad = Link(sha256="../../x", size=1, version=None, confirmed_at=0.0)
    disk.entries(LINKS, Link).save(bad, b"", "33", "3" * 62)
    assert {d.path for d in _verify(disk)} == {lost, disk.folder / "links" / "33" / ("3" * 62)}


def test_broken_notes_keep_their_sound_lines(disk: CacheFolder) -> None:
    """A torn line is taken out of a note; a note without a sound line is removed."""
    with (disk.cached_projects.folder / "foo").open("ab") as file:
        file.write(b"abc\xff\n" + _sha256(SECOND).encode()[:20])
    (disk.cached_projects.folder / "bar").write_bytes(b"\0" * 65)
    found = {damage.path.name: damage.repair for damage in _verify(disk)}
    assert found == {"foo": "corrected", "bar": "removed"}
    assert disk.cached_projects.digests_of("foo") == {_sha256(FIRST), _sha256(THIRD)}
    assert _verify(disk) == []


def test_abandoned_files_are_removed_and_no_others(disk: CacheFolder) -> None:
    """What a crash left goes; what is being written, or was begun just now, stays."""
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


def test_permissions_are_corrected(disk: CacheFolder) -> None:
    """Where others can get in, nobody but the owner may write; and the owner can use all of it."""
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


def test_wrong_kinds_at_the_top_are_removed(disk: CacheFolder, tmp_path: Path) -> None:
    """A folder of ours that is a link or a file is removed, and what it leads to is not touched."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_bytes(b"x")
    for name in ("metadata", "links"):
        (disk.folder / name).rename(tmp_path / name)
    (disk.folder / "metadata").symlink_to(other)
    (disk.folder / "links").write_bytes(b"")
    assert [damage.path.name for damage in _verify(disk)] == ["metadata", "links"]
    assert (other / "mine.txt").exists()


def test_what_lies_beside_the_folders_is_verified(disk: CacheFolder) -> None:
    """The key that tells passwords apart, and the names of projects, are files of their owner."""
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


def test_other_things_in_the_folder_are_left_alone(disk: CacheFolder) -> None:
    """What lies beside our folders is somebody else's: it is named, and never removed."""
    (disk.folder / "mine.txt").write_bytes(b"x")
    assert _verify(disk) == []
    assert Verification(disk).foreign() == ["mine.txt"]
    clear(disk)
    assert (disk.folder / "mine.txt").exists()


def test_what_is_evicted_or_replaced_meanwhile_is_no_damage(disk: CacheFolder) -> None:
    """A cache that servers write to and remove from is sound all the time."""
    stop = threading.Event()

    def serve() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            content = b"%d" % number * 20_000
            path = _keep(disk, content)
            _link(disk, content, "4" * 64)
            path.unlink()
            disk.files.path(_sha256(SECOND)).unlink(missing_ok=True)
            _keep(disk, SECOND)

    server = threading.Thread(target=serve)
    server.start()
    try:
        for _ in range(40):
            found = [d for d in _verify(disk, dry_run=True) if "44" not in d.path.parts]
            assert found == []
    finally:
        stop.set()
        server.join()


def test_a_stopped_run_leaves_all_as_it_is(disk: CacheFolder) -> None:
    """Closed after the first damage, it is done at once and its threads are gone."""
    for number in range(200):
        _flipped(_keep(disk, b"%d" % number * 1000))
    run = Verification(disk).run()
    next(run)
    run.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("verify")]
    assert len(_verify(disk)) > 50


def test_what_cannot_be_repaired_is_said(
    disk: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that does not let go of a damaged file leads to a reason, not to an exception."""
    _flipped(disk.files.path(_sha256(SECOND)))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    (damage,) = _verify(disk)
    assert (damage.repair, damage.failure) == ("", "read-only file system")


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"null\n", b'{"head":"\xff"}\n', b"\0" * 9])
def test_garbage_is_no_entry(disk: CacheFolder, content: bytes) -> None:
    """Reading what is no entry is always the same error."""
    with pytest.raises(BrokenEntry):
        disk.entries(LINKS, Link).parse(content)


def test_all_that_is_written_is_looked_at(disk: CacheFolder) -> None:
    """No place of the cache is passed over."""
    run = Verification(disk)
    list(run.run())
    inside = [path for path in disk.folder.rglob("*/*") if path.is_file()]
    assert run.files == len(inside)
    assert all(list(items(disk.folder, place)) for place in ("files", "pages", PROJECTS))


# --- prune, clear, usage -------------------------------------------------------------------------


def test_prune_removes_what_was_used_least_recently(disk: CacheFolder) -> None:
    """Down to the size and no further, the oldest first; a dry run says the same."""
    for kind in ("pages", "metadata", "links"):
        for path in (disk.folder / kind).rglob("*"):
            if path.is_file():
                _aged(path, 60)
    old = _aged(disk.files.path(_sha256(FIRST)), 2 * DAY_S)
    new = disk.files.path(_sha256(SECOND))
    total = usage(disk).total
    said = prune(disk, max_bytes=total.bytes - 1, unused_s=None, dry_run=True)
    assert old.exists()
    done = prune(disk, max_bytes=total.bytes - 1, unused_s=None)
    assert said == done
    assert (done.evicted.files, old.exists(), new.exists()) == (1, False, True)
    assert done.garbage.files == 2, "its link, and the note that led to nothing else"
    assert done.left == usage(disk).total
    assert _verify(disk) == []


def test_prune_removes_what_nobody_used(disk: CacheFolder) -> None:
    """What was used since stays, however small the rest."""
    old = _aged(disk.files.path(_sha256(SECOND)), 8 * DAY_S)
    done = prune(disk, max_bytes=None, unused_s=7 * DAY_S)
    assert (done.evicted.files, done.garbage.files, old.exists()) == (1, 0, False)
    assert disk.files.path(_sha256(FIRST)).exists()


def test_prune_spares_what_is_in_use(disk: CacheFolder) -> None:
    """What was used just now may be on its way to a client: it stays at any size."""
    path = _aged(disk.files.path(_sha256(FIRST)), 1)
    assert prune(disk, max_bytes=0, unused_s=0).evicted.files == 1
    assert path.exists()


def test_clear_removes_all_but_what_is_being_written(disk: CacheFolder) -> None:
    """Folder, tag, lock and a running transfer stay, so that servers go on; the rest is gone."""
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


def test_a_file_is_kept_while_all_is_cleared(disk: CacheFolder) -> None:
    """Writers are not disturbed by folders that vanish under them."""
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


def test_usage_counts_by_kind(disk: CacheFolder) -> None:
    """Files and the room they take, as the budget counts them."""
    found = usage(disk)
    counts = {kind: amount.files for kind, amount in found.kinds.items()}
    assert counts == {"files": 2, "pages": 3, "metadata": 1, "links": 1}
    assert found.total.bytes == sum(amount.bytes for amount in found.kinds.values())
    assert found.oldest_use is not None
    assert found.newest_use is not None
    assert found.newest_use - found.oldest_use > 3000


@pytest.mark.parametrize("tag", [None, b"", b"Signature: 8a477f597d28d172789f06886806bc55\n"])
def test_only_a_cache_of_ours_is_one(disk: CacheFolder, tag: bytes | None) -> None:
    """A folder without our tag is refused, also one with the tag of another program."""
    assert check_is_cache(disk.folder)
    (disk.folder / TAG).unlink()
    if tag is not None:
        (disk.folder / TAG).write_bytes(tag)
    (disk.folder / "thesis.txt").write_text("years of work")
    with pytest.raises(NotACache, match="is not a simple-repository-server cache"):
        check_is_cache(disk.folder)
