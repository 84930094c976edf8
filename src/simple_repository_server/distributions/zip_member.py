"""Reading one member of a zip archive, and as little else of it as possible.

The reader is a generator without input or output: it yields the byte ranges it needs, is sent their
bytes, and returns the member. Local and remote files are read by the same code (`metadata.py`).

Format: APPNOTE.TXT 6.3.10, sections in brackets.
"""

import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence

import msgspec

from simple_repository_server.errors import Malformed
from simple_repository_server.resource import ByteRange

Reading = Generator[ByteRange, bytes, bytes]

#: Read first: the end record, and of most wheels the whole directory.
TAIL_BYTES = 64 * 1024
MAX_DIRECTORY_BYTES = 64 * 1024 * 1024
MAX_MEMBER_BYTES = 20 * 1024 * 1024

_END = struct.Struct("<4s4H2LH")  # [4.3.16]
_LOCATOR = struct.Struct("<4sLQL")  # [4.3.15]
_END64 = struct.Struct("<4sQ2H2L4Q")  # [4.3.14]
_ENTRY = struct.Struct("<4s6H3L5H2L")  # [4.3.12]
_HEADER = struct.Struct("<4s5H3L2H")  # [4.3.7]
_END_SIGN, _LOCATOR_SIGN, _END64_SIGN = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_ENTRY_SIGN, _HEADER_SIGN = b"PK\x01\x02", b"PK\x03\x04"
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_EXTRA = 1
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x2041
#: The extra field of the local header may be longer than that in the directory.
_SLACK = 128


class Entry(msgspec.Struct, frozen=True, gc=False):
    """The directory entry of a member."""

    name: str
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    offset: int
    header: int


def read_member(size: int, choose: Callable[[Sequence[str]], str | None]) -> Reading:
    """The bytes of one member of an archive of `size` bytes.

    `choose` picks the member's name out of names of the directory; it may be shown only the last
    part of the directory first, and answers None if what it looks for is not there. Raises
    `Malformed` for what is no zip archive, is damaged, absurd or encrypted, or has no such member.
    """
    tail_start = max(0, size - TAIL_BYTES)
    tail = yield ByteRange(tail_start, size)
    directory = yield from _find_directory(tail, tail_start)
    entries, complete = _entries_in_tail(tail, tail_start, directory)
    name = choose([entry.name for entry in entries])
    if name is None and not complete:
        front = yield ByteRange(directory.start, tail_start)
        entries = list(iter_entries(front + tail[: directory.stop - tail_start]))
        name = choose([entry.name for entry in entries])
    if name is None:
        raise Malformed("the archive has no such member")
    # As in every zip reader, of entries with the same name the last one counts.
    entry = next(entry for entry in reversed(entries) if entry.name == name)
    return (yield from _read_entry(entry, directory.start, tail, tail_start))


def find_directory(size: int) -> Generator[ByteRange, bytes, ByteRange]:
    """Where the directory of an archive of `size` bytes lies. Raises `Malformed`."""
    tail_start = max(0, size - TAIL_BYTES)
    tail = yield ByteRange(tail_start, size)
    return (yield from _find_directory(tail, tail_start))


def read_entry(entry: Entry, directory_start: int) -> Reading:
    """The bytes of the member with this entry. Raises `Malformed`, as `read_member`."""
    return _read_entry(entry, directory_start, b"", directory_start)


def _find_directory(tail: bytes, tail_start: int) -> Generator[ByteRange, bytes, ByteRange]:
    end = tail.rfind(_END_SIGN)
    while end != -1 and not _is_end(tail, end):
        end = tail.rfind(_END_SIGN, 0, end)
    if end == -1:
        raise Malformed("it is no zip archive, or cut off")
    record = _END.unpack_from(tail, end)
    length, offset = record[5], record[6]
    stop = tail_start + end
    if _FULL16 in record[3:5] or _FULL32 in (length, offset):
        length, offset, stop = yield from _find_directory64(tail, tail_start, end)
    if length > MAX_DIRECTORY_BYTES:
        raise Malformed(f"its directory of {length} bytes is absurd")
    if offset + length != stop:
        raise Malformed("its directory is not where it should be")
    return ByteRange(offset, stop)


def _is_end(tail: bytes, position: int) -> bool:
    if position + _END.size > len(tail):
        return False
    comment = _END.unpack_from(tail, position)[7]
    return position + _END.size + int(comment) == len(tail)


def _find_directory64(
    tail: bytes, tail_start: int, end: int
) -> Generator[ByteRange, bytes, tuple[int, int, int]]:
    if end < _LOCATOR.size or tail[end - _LOCATOR.size :][:4] != _LOCATOR_SIGN:
        raise Malformed("its zip64 directory is missing")
    offset = int(_LOCATOR.unpack_from(tail, end - _LOCATOR.size)[2])
    if tail_start <= offset <= tail_start + end - _END64.size:
        record = tail[offset - tail_start :][: _END64.size]
    elif offset <= tail_start:
        record = yield ByteRange(offset, offset + _END64.size)
    else:
        raise Malformed("its zip64 directory is not where it should be")
    if len(record) < _END64.size or record[:4] != _END64_SIGN:
        raise Malformed("its zip64 directory is not where it should be")
    fields = _END64.unpack(record)
    return int(fields[8]), int(fields[9]), offset


def _entries_in_tail(
    tail: bytes, tail_start: int, directory: ByteRange
) -> tuple[list[Entry], bool]:
    """The entries that lie in the tail, and whether that is all of them.

    If the directory begins before the tail, the first place counts from which one entry follows
    the other right to the end.
    """
    stop = directory.stop - tail_start
    if directory.start >= tail_start:
        return list(iter_entries(tail[:stop], directory.start - tail_start)), True
    position = tail.find(_ENTRY_SIGN, 0, stop)
    while position != -1:
        try:
            return list(iter_entries(tail[:stop], position)), False
        except Malformed:
            position = tail.find(_ENTRY_SIGN, position + 1, stop)
    return [], False


def iter_entries(directory: bytes, position: int = 0) -> Iterator[Entry]:
    """The entries of the directory, from the position on. Raises `Malformed`."""
    while position < len(directory):
        if position + _ENTRY.size > len(directory):
            raise Malformed("its directory is damaged")
        fields = _ENTRY.unpack_from(directory, position)
        if fields[0] != _ENTRY_SIGN:
            raise Malformed("its directory is damaged")
        name_length, extra_length, comment_length = fields[10:13]
        name_at = position + _ENTRY.size
        extra_at = name_at + name_length
        position = extra_at + extra_length + comment_length
        if position > len(directory):
            raise Malformed("its directory is damaged")
        extra = directory[extra_at : extra_at + extra_length]
        yield _entry(fields, directory[name_at:extra_at], extra)


def _entry(fields: tuple[int, ...], name: bytes, extra: bytes) -> Entry:
    flags, method, crc, compressed, size, offset = (
        fields[3], fields[4], fields[7], fields[8], fields[9], fields[16]
    )  # fmt: skip
    if _FULL32 in (compressed, size, offset):
        size, compressed, offset = _zip64_values(extra, size, compressed, offset)
    header = _HEADER.size + len(name) + len(extra) + _SLACK
    text = name.decode("utf-8", "replace")
    return Entry(text, flags, method, crc, compressed, size, offset, header)


def _zip64_values(extra: bytes, *values: int) -> tuple[int, int, int]:
    """The values, those that are full taken from the zip64 extra field, in its order [4.5.3]."""
    while len(extra) >= 4:  # noqa: PLR2004 - its head: two numbers of two bytes
        kind, length = struct.unpack_from("<2H", extra)
        if kind == _ZIP64_EXTRA:
            given = iter(struct.unpack_from(f"<{min(length, len(extra) - 4) // 8}Q", extra, 4))
            size, compressed, offset = (next(given, v) if v == _FULL32 else v for v in values)
            return size, compressed, offset
        extra = extra[4 + length :]
    raise Malformed("its directory is damaged")


def _read_entry(entry: Entry, limit: int, tail: bytes, tail_start: int) -> Reading:
    if entry.flags & _ENCRYPTED or entry.method not in (_STORED, _DEFLATED):
        raise Malformed(f"its member {entry.name} is encrypted or compressed in an unknown way")
    if max(entry.size, entry.compressed) > MAX_MEMBER_BYTES:
        raise Malformed(f"its member {entry.name} is larger than {MAX_MEMBER_BYTES} bytes")
    stop = min(limit, entry.offset + entry.header + entry.compressed)
    if entry.offset + _HEADER.size > stop:
        raise Malformed(f"its member {entry.name} is not where it should be")
    if entry.offset >= tail_start:
        data = tail[entry.offset - tail_start : stop - tail_start]
    else:
        data = yield ByteRange(entry.offset, stop)
    header = _HEADER.unpack_from(data)
    name = data[_HEADER.size :][: header[9]].decode("utf-8", "replace")
    if header[0] != _HEADER_SIGN or name != entry.name:
        raise Malformed(f"its member {entry.name} is not where it should be")
    start = _HEADER.size + header[9] + header[10]
    if start + entry.compressed > len(data):
        wanted = ByteRange(entry.offset + start, entry.offset + start + entry.compressed)
        if wanted.stop > limit:
            raise Malformed(f"its member {entry.name} is not where it should be")
        return _unpacked(entry, (yield wanted))
    return _unpacked(entry, data[start : start + entry.compressed])


def _unpacked(entry: Entry, data: bytes) -> bytes:
    if entry.method == _DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, entry.size + 1)
        except zlib.error as error:
            raise Malformed(f"its member {entry.name} is damaged") from error
    if len(data) != entry.size or zlib.crc32(data) != entry.crc:
        raise Malformed(f"its member {entry.name} is damaged")
    return data
