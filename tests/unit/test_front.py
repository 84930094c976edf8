"""The part of a transfer that is in memory."""

from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.cache.front import Front

LARGEST_PIECE = 64 * 1024 + 150_000
SIZES = st.lists(st.integers(1, 150_000), max_size=20)


def _filled(sizes: list[int]) -> tuple[Front, bytes]:
    front = Front()
    content = b""
    for number, size in enumerate(sizes):
        front.append(bytes([number]) * size)
        content += bytes([number]) * size
    return front, content


@given(SIZES, st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_any_part_is_read_in_pieces_from_any_position(
    sizes: list[int], position: int, stop: int
) -> None:
    """However the bytes arrived, pieces from one position on add up to the bytes up to the stop."""
    front, content = _filled(sizes)
    stop = min(stop, len(content))
    read = b""
    while position + len(read) < stop:
        piece = front.read(position + len(read), stop)
        assert piece
        read += piece
    assert read == content[position : max(position, stop)]
    assert b"".join(front.chunks) == content


@given(SIZES, st.integers(0, 400_000), st.integers(0, 1_000_000))
def test_only_what_is_written_is_trimmed(sizes: list[int], max_bytes: int, written: int) -> None:
    """Trimming drops bytes from the start, never unwritten ones, and at most a piece too much."""
    front, content = _filled(sizes)
    front.trim(max_bytes, written=written)
    assert front.end == len(content)
    assert front.start <= written
    assert b"".join(front.chunks) == content[front.start :]
    assert len(content) - front.start >= min(max_bytes, len(content)) - LARGEST_PIECE
    if front.start:
        assert front.read(front.start - 1, front.end) is None


def test_tiny_chunks_are_joined_to_pieces() -> None:
    """A file that arrives in crumbs is read in pieces of tens of kilobytes."""
    front, content = _filled([500] * 250)
    first = front.read(0, len(content))
    assert first is not None
    assert len(first) >= 50_000
