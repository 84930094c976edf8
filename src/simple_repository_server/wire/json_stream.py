"""JSON texts decoded in pieces: bounded memory, and short holds of Python's lock.

Decoding holds the lock from beginning to end, and its result can take twenty times the memory of
the text. So an array is decoded a piece at a time, and of other members only the structure is
scanned (RFC 8259). An element that cannot be decoded (half a surrogate pair, a number beyond all
limits, nesting without end) becomes None; the others are unaffected.
"""

import codecs
import re
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import msgspec

from simple_repository_server.errors import Malformed

T = TypeVar("T")
Decode = Callable[[bytes], list[T]]

#: How many bytes are decoded in one step, and texts up to which size at once.
PIECE_BYTES = 128 * 1024
#: How many bytes are searched in one step.
_SEARCH_BYTES = 128 * 1024
#: Longer elements and values are not decoded.
MAX_VALUE_BYTES = 128 * 1024
#: How many objects may end within the last element before the end of a piece.
_TRIES = 20

_QUOTE, _OPENING = b'"'[0], b"[{"
_not_space = re.compile(rb"[^ \t\n\r]")
#: Strings and what is between them, up to the next bracket, as long as they are simple.
_simple_strings = re.compile(rb'(?:[^"\[\]{}]{0,100}+"[^"\\]{0,200}+"){0,100}')
_brackets = re.compile(rb'["\[\]{}]')
_after_scalar = re.compile(rb"[,\]} \t\n\r]")
_in_string = re.compile(rb'["\\]')
_object_follows = re.compile(rb"[ \t\n\r]{0,100}\{")
_last_closing = re.compile(rb"\}[ \t\n\r]*\]")
_decode_any = msgspec.json.Decoder(list[Any]).decode


def stream_array(
    text: bytes,
    key: str,
    decode: Decode[T],
    others: dict[str, bytes],
    *,
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[list[T] | list[Any]]:
    """The elements of the array under `key` of a JSON object, in batches of about `piece_bytes`.

    Each batch comes from `decode`, given the text of an array; if it raises, as plain values, and
    an element that cannot be decoded as None.
    Of the other members those whose keys are in `others` are put there as they stand. Raises
    `Malformed`.
    """
    try:
        found = yield from _members(text, key, decode, others, piece_bytes)
    except ValueError as error:
        raise Malformed(f"it is not JSON ({error})") from error
    if not found:
        raise Malformed(f"it is JSON, but without a list of {key}")


def elements(
    array: bytes, decode: Decode[T], *, piece_bytes: int = PIECE_BYTES
) -> Iterator[list[T] | list[Any]]:
    """The elements of a JSON array, in batches as of `stream_array`; of anything else, none."""
    try:
        if array[:1] == b"[":
            yield from _elements(array, 1, decode, piece_bytes)
    except ValueError as error:
        raise Malformed(f"it is not JSON ({error})") from error


def members(text: bytes, *keys: str) -> dict[str, bytes]:
    """The members of a JSON object under these keys as they stand: `null` where there is none."""
    found = dict.fromkeys(keys, b"null")
    try:
        if text[:1] == b"{":
            for _ in _members(text, "", _decode_any, found, PIECE_BYTES):
                pass
    except ValueError as error:
        raise Malformed(f"it is not JSON ({error})") from error
    return found


def value(text: bytes) -> Any:
    """The value of a JSON text; None if it is long or cannot be decoded."""
    return _one(text, _decode_any)


def _members(
    text: bytes, array: str, decode: Decode[T], others: dict[str, bytes], piece_bytes: int
) -> Generator[list[T] | list[Any], None, bool]:
    """See `stream_array`. Returns whether the array was there, and raises `ValueError`."""
    found = False
    start = len(codecs.BOM_UTF8) if text.startswith(codecs.BOM_UTF8) else 0
    position = _expect(text, start, b"{")
    while text[position : position + 1] != b"}":
        if text[position : position + 1] != b'"':
            raise ValueError(f"a key expected at {position}")
        end = _end(text, position)
        key = value(text[position:end])
        position = _expect(text, end, b":")
        if key == array and text[position : position + 1] == b"[":
            found = True
            position = yield from _elements(text, position + 1, decode, piece_bytes)
        else:
            end = _end(text, position)
            if key in others:
                others[key] = text[position:end]
            position = end
        position = _next(text, position, b"}")
    if text[position + 1 :].strip():
        raise ValueError(f"something follows its end at {position + 1}")
    return found


def _elements(
    text: bytes, position: int, decode: Decode[T], piece_bytes: int
) -> Generator[list[T] | list[Any], None, int]:
    """The elements of the array that was opened just before `position`. Returns where it ends."""
    position = _search(_not_space, text, position)
    while text[position : position + 1] != b"]":
        for end in _cuts(text, position, position + piece_bytes):
            # The cut is right if the piece can be decoded: inside a string or a nested value it
            # could not be.
            found = _decoded(b"[%b]" % text[position:end], decode)
            if found is not None:
                yield found
                position = _next(text, end, b"]")
                break
        else:
            # Something in the piece is invalid: element by element.
            until = position + piece_bytes
            while position < until and text[position : position + 1] != b"]":
                end = _end(text, position)
                yield [_one(text[position:end], decode)]
                position = _next(text, end, b"]")
    return position + 1


def _cuts(text: bytes, position: int, until: int) -> Iterator[int]:
    """Where the last element of a piece seems to end: of the array, or of those that fit."""
    if closing := _last_closing.search(text, position, until):
        yield closing.start() + 1
    cut = until
    for _ in range(_TRIES):
        cut = text.rfind(b"},", position, cut)
        if cut < 0 or _object_follows.match(text, cut + 2):
            break
    if cut < 0:
        cut = text.rfind(b",", position, until) - 1
    if cut >= position:
        yield cut + 1


def _decoded(array: bytes, decode: Decode[T]) -> list[T] | list[Any] | None:
    try:
        return decode(array)
    except msgspec.ValidationError:
        pass
    except (ValueError, RecursionError):
        return None
    try:
        return _decode_any(array)
    except (ValueError, RecursionError):
        return None


def _one(text: bytes, decode: Decode[T]) -> T | Any:
    if len(text) > MAX_VALUE_BYTES:
        return None
    found = _decoded(b"[%b]" % text, decode)
    return found[0] if found else None


def _end(text: bytes, position: int) -> int:
    """Where the value that begins at `position` ends, found by its brackets and strings."""
    first = text[position : position + 1]
    if first == b'"':
        return _end_of_string(text, position + 1)
    if not first or first not in _OPENING:
        end = _search(_after_scalar, text, position)
        if end == position:
            raise ValueError(f"a value expected at {position}")
        return end
    depth = 0
    while True:
        if simple := _simple_strings.match(text, position):
            position = simple.end()
        position = _search(_brackets, text, position)
        if text[position] == _QUOTE:
            position = _end_of_string(text, position + 1)
            continue
        depth += 1 if text[position] in _OPENING else -1
        position += 1
        if not depth:
            return position


def _end_of_string(text: bytes, position: int) -> int:
    while text[position := _search(_in_string, text, position)] != _QUOTE:
        position += 2
    return position + 1


def _expect(text: bytes, position: int, mark: bytes) -> int:
    """The beginning of what follows a mark."""
    position = _search(_not_space, text, position)
    if text[position : position + 1] != mark:
        raise ValueError(f"{mark.decode()!r} expected at {position}")
    return _search(_not_space, text, position + 1)


def _next(text: bytes, position: int, closing: bytes) -> int:
    """The beginning of the next element, or the bracket that closes."""
    position = _search(_not_space, text, position)
    if text[position : position + 1] == closing:
        return position
    return _expect(text, position, b",")


def _search(marks: re.Pattern[bytes], text: bytes, position: int) -> int:
    """Where the next of these characters is; in steps, so that other threads run in between."""
    while position < len(text):
        if found := marks.search(text, position, position + _SEARCH_BYTES):
            return found.start()
        position += _SEARCH_BYTES
    raise ValueError("it is cut off")
