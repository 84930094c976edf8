"""The part of a transfer that is in memory: its front, or all of a small file."""

from bisect import bisect_right

import msgspec

#: Smaller chunks are put together: each one costs every reader a turn of the event loop.
_PIECE_BYTES = 64 * 1024


class TransferMemory(msgspec.Struct, frozen=True, kw_only=True):
    """How many bytes transfers into the cache may hold in memory."""

    #: All transfers together.
    total_bytes: int = 64 * 1024 * 1024
    #: One transfer, of what is written already: readers at the front need not read it back.
    recent_bytes: int = 4 * 1024 * 1024
    #: One transfer, of what is not written or not digested yet.
    pending_bytes: int = 16 * 1024 * 1024
    #: Files up to this size are received in memory, and written once they are verified.
    whole_file_bytes: int = 1024 * 1024


class Front:
    """Consecutive bytes of a file, of which the first may be dropped."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._chunks: list[bytes | bytearray] = []
        #: The position behind the last byte.
        self.end = 0

    @property
    def start(self) -> int:
        """The position of the first byte that is in memory."""
        return self._starts[0] if self._starts else self.end

    @property
    def chunks(self) -> list[bytes]:
        """All bytes that are in memory, in order."""
        return [bytes(chunk) for chunk in self._chunks]

    def append(self, chunk: bytes) -> None:
        """Add the next bytes."""
        last = self._chunks[-1] if self._chunks else b""
        if isinstance(last, bytearray) and len(last) < _PIECE_BYTES:
            last += chunk
        else:
            self._starts.append(self.end)
            self._chunks.append(chunk if len(chunk) >= _PIECE_BYTES // 2 else bytearray(chunk))
        self.end += len(chunk)

    def read(self, position: int, stop: int) -> bytes | None:
        """One piece from `position` on, up to `stop`; None if it is not in memory any more."""
        place = bisect_right(self._starts, position) - 1
        if place < 0 or position >= self.end:
            return None
        start = self._starts[place]
        return bytes(self._chunks[place][position - start : stop - start])

    def trim(self, max_bytes: int, *, written: int) -> None:
        """Drop the oldest pieces while there are more than `max_bytes`, if they were written."""
        count = 0
        for start, chunk in zip(self._starts, self._chunks, strict=True):
            if self.end - start <= max_bytes or start + len(chunk) > written:
                break
            count += 1
        del self._starts[:count], self._chunks[:count]
