"""Reading one member of a zip archive: the same as `zipfile`, from any bytes, without a crash."""

import io
import struct
import time
import zipfile
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_repository_server.distributions import zip_member
from simple_repository_server.distributions.metadata import wheel_metadata
from simple_repository_server.distributions.zip_member import read_member
from simple_repository_server.errors import Malformed
from simple_repository_server.testing.distributions import build_wheel, zip_of

_contents = st.dictionaries(
    st.text("abcdef/._-", min_size=1, max_size=12), st.binary(max_size=300), min_size=1, max_size=8
)


def _read(archive: bytes, name: str) -> tuple[bytes, int]:
    """The member, and how many bytes were read for it."""
    return _run(read_member(len(archive), lambda names: name if name in names else None), archive)


def _run(reading: zip_member.Reading, archive: bytes) -> tuple[bytes, int]:
    read = 0
    try:
        wanted = next(reading)
        while True:
            assert 0 <= wanted.start < wanted.stop <= len(archive)
            read += wanted.length
            wanted = reading.send(archive[wanted.start : wanted.stop])
    except StopIteration as done:
        return done.value, read


@given(_contents, st.booleans(), st.data())
def test_members_are_what_zipfile_reads(
    members: dict[str, bytes], compressed: bool, data: st.DataObject
) -> None:
    """Any member of an archive comes out as `zipfile` reads it."""
    archive = zip_of(members, compressed=compressed)
    name = data.draw(st.sampled_from(sorted(members)))
    assert _read(archive, name)[0] == members[name]


@settings(max_examples=300)
@given(_contents, st.data())
def test_damage_is_noticed_or_harmless(members: dict[str, bytes], data: st.DataObject) -> None:
    """Of a damaged or cut archive a member is right, or `Malformed` is raised."""
    archive = bytearray(zip_of(members))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3))
    damaged = bytes(archive[: len(archive) - cut])
    name = data.draw(st.sampled_from(sorted(members)))
    try:
        content, _ = _read(damaged, name)
    except Malformed:
        return
    try:
        with zipfile.ZipFile(io.BytesIO(damaged)) as seen_by_zipfile:
            assert content == seen_by_zipfile.read(name)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        # It is stricter about what we need not read; what we read has the right checksum.
        assert content in members.values()


@given(st.binary(min_size=1, max_size=400))
def test_noise_is_no_archive(noise: bytes) -> None:
    """Bytes that are no archive raise `Malformed`."""
    with pytest.raises(Malformed):
        _read(noise, "x")


def test_of_a_large_directory_only_the_end_is_read() -> None:
    """The metadata of a wheel with thousands of files costs the end of its directory."""
    files = {f"package/module_{number:05}/with_a_long_name.py": b"x" for number in range(12_000)}
    wheel = build_wheel("large", files=files)
    metadata, read = _run(wheel_metadata(wheel.filename, len(wheel.content)), wheel.content)
    assert metadata == wheel.metadata
    assert read < 2 * zip_member.TAIL_BYTES


def test_metadata_at_the_front_is_found_too() -> None:
    """Where the directory names the metadata first, all of it is read."""
    wheel = build_wheel("front")
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        members = {name: archive.read(name) for name in reversed(archive.namelist())}
    members |= {f"package/module_{number:05}.py": b"x" for number in range(3_000)}
    content = zip_of(members)
    assert _run(wheel_metadata(wheel.filename, len(content)), content)[0] == wheel.metadata


def test_zip64_archives_are_read() -> None:
    """Archives in the format for more than 4 GB or 65,535 members are read."""
    wheel = build_wheel("many", files={f"m/{number}": b"" for number in range(66_000)})
    assert _run(wheel_metadata(wheel.filename, len(wheel.content)), wheel.content)[0] == (
        wheel.metadata
    )


def test_an_archive_comment_is_passed_over() -> None:
    """A comment at the end, even one that looks like an end record, does not mislead."""
    buffer = io.BytesIO(zip_of({"a": b"content"}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"PK\x05\x06 and more"
    assert _read(buffer.getvalue(), "a")[0] == b"content"


def test_of_two_members_with_one_name_the_last_counts() -> None:
    """As in every zip reader, so that clients see what we see."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a", b"first")
        archive.writestr("a", b"last")
    assert _read(buffer.getvalue(), "a")[0] == b"last"


def test_another_projects_metadata_is_not_taken() -> None:
    """Metadata of another project inside the wheel is not the wheel's."""
    other = build_wheel("other")
    with pytest.raises(Malformed):
        _run(wheel_metadata("mine-1.0-py3-none-any.whl", len(other.content)), other.content)


def test_metadata_deeper_in_the_archive_is_not_taken() -> None:
    """A vendored `.dist-info` somewhere inside is not the wheel's."""
    content = zip_of({"vendor/mine-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\n"})
    with pytest.raises(Malformed):
        _run(wheel_metadata("mine-1.0-py3-none-any.whl", len(content)), content)


def _patched(archive: bytes, sign: bytes, offset: int, value: bytes) -> bytes:
    position = archive.rindex(sign) + offset
    return archive[:position] + value + archive[position + len(value) :]


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (8, struct.pack("<H", 1), "encrypted"),
        (10, struct.pack("<H", 99), "unknown way"),
        (24, struct.pack("<L", 21 * 1024 * 1024), "larger than"),
        (20, struct.pack("<L", 2**31), "larger than"),
        (42, struct.pack("<L", 2**30), "not where"),
        (16, b"\0\0\0\0", "damaged"),
    ],
)
def test_absurd_members_are_refused(offset: int, value: bytes, reason: str) -> None:
    """Encrypted, unknown, huge, misplaced and damaged members are refused, not read."""
    archive = _patched(zip_of({"a": b"content" * 9}), b"PK\x01\x02", offset, value)
    with pytest.raises(Malformed, match=reason):
        _read(archive, "a")


def test_a_zip_bomb_is_refused() -> None:
    """A member that unfolds to more than it says stops there."""
    bomb = zip_of({"a": b"\0" * 30_000_000})
    small = struct.pack("<L", 1000)
    archive = _patched(bomb, b"PK\x01\x02", 24, small)
    with pytest.raises(Malformed):
        _read(archive, "a")
    with pytest.raises(Malformed, match="larger than"):
        _read(bomb, "a")


def test_an_absurd_directory_is_refused() -> None:
    """A directory of gigabytes is not fetched."""
    archive = _patched(zip_of({"a": b""}), b"PK\x05\x06", 12, struct.pack("<L", 2**31))
    with pytest.raises(Malformed, match="absurd"):
        _read(archive, "a")


def _everything(names: Sequence[str]) -> str | None:
    return names[-1] if names else None


def test_an_empty_archive_has_no_member() -> None:
    """An archive without members is a clean refusal."""
    archive = zip_of({})
    with pytest.raises(Malformed):
        _run(read_member(len(archive), _everything), archive)


def test_a_large_directory_is_read_in_passing() -> None:
    """The time grows with the directory, not with its square."""
    archive = zip_of({f"{number:0100}": b"" for number in range(60_000)})
    started = time.process_time()
    with pytest.raises(Malformed, match="no such member"):
        _read(archive, "a")
    assert time.process_time() - started < 2
