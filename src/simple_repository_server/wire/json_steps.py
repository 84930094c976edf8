"""Decoding large JSON texts in steps that let other threads run in between.

Decoding holds Python's lock from beginning to end: done at once, a page of tens of megabytes or the
list of a public index would hold up the event loop for as long.
"""

import json
import re
from collections.abc import Callable, Generator, Iterator
from typing import Any, NoReturn

import msgspec

from simple_repository_server.errors import Malformed

#: Larger texts are decoded in steps; up to here it takes about 20 ms at once.
AT_ONCE_BYTES = 6_000_000
#: How much is decoded in one step.
PIECE_BYTES = 128 * 1024


def is_large(text: bytes) -> bool:
    """Whether decoding the text at once would hold up others."""
    return len(text) > AT_ONCE_BYTES


def array_elements(text: bytes, key: str, rest: dict[str, Any]) -> Iterator[Any]:
    """The elements of the array under `key` of an object, whose other members end up in `rest`.

    Those of a large text are decoded some at a time, so that other threads run in between and not
    all of them are there at once. Raises `Malformed`.
    """
    found = False
    try:
        if is_large(text):
            found = yield from _by_pieces(text, key, rest)
        else:
            whole = msgspec.json.decode(text)
            elements = whole.pop(key, None) if isinstance(whole, dict) else None
            if isinstance(elements, list):
                found = True
                rest.update(whole)
                yield from elements
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed(f"it is not JSON ({error})") from error
    if not found:
        raise Malformed(f"it is JSON, but without a list of {key}")


def _by_pieces(text: bytes, wanted: str, rest: dict[str, Any]) -> Generator[Any, None, bool]:
    """The fast way through an array of objects; one by one from where it is not as it should be.

    A piece is cut where an object seems to end. That it can be decoded with a bracket at either
    end proves the cut right: inside a string or a nested value it could not. Raises `ValueError`.
    """
    opening = re.search(rb'"%b"\s*:\s*\[' % wanted.encode(), text[:PIECE_BYTES])
    try:
        # That this can be decoded proves that the array is a member of the outermost object.
        before = _decode_object(text[: opening.start() if opening else 0] + b'"":0}')
    except (msgspec.DecodeError, ValueError, RecursionError):
        before, opening = {}, None
    if opening is None:
        return (yield from _one_by_one(text.decode(), wanted, rest))
    rest.update((key, value) for key, value in before.items() if key)
    position = opening.end()
    while (end := text.rfind(b"},", position, position + PIECE_BYTES)) >= 0:
        try:
            elements = _decode_array(b"[%b]" % text[position : end + 1])
        except (msgspec.DecodeError, ValueError, RecursionError):
            break
        yield from elements
        position = end + 2
    remainder = f'{{"{wanted}":[{text[position:].decode()}'
    return (yield from _one_by_one(remainder, wanted, rest))


_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_array = msgspec.json.Decoder(list[Any]).decode


def _one_by_one(text: str, wanted: str, rest: dict[str, Any]) -> Generator[Any, None, bool]:
    """A JSON object, of which the array under `wanted` is taken element by element.

    Returns whether there is one. Raises `ValueError`.
    """
    raw_decode = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode

    def decode(text: str, position: int) -> tuple[Any, int]:
        value, position = raw_decode(text, position)
        # Refuses half a surrogate pair, which decoding at once refuses, too: it is no text.
        msgspec.json.encode(value)
        return value, position

    found = False
    position = _expect(text, 0, "{")
    while text[position : position + 1] != "}":
        key, position = decode(text, position)
        position = _expect(text, position, ":")
        if key == wanted and text[position : position + 1] == "[":
            found = True
            position = yield from _elements(text, position, decode)
        else:
            rest[key], position = decode(text, position)
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
    return found


def _elements(
    text: str, position: int, decode: Callable[[str, int], tuple[Any, int]]
) -> Generator[Any, None, int]:
    position = _expect(text, position, "[")
    while text[position : position + 1] != "]":
        element, position = decode(text, position)
        yield element
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
    return position + 1


def _skip(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t", "\n", "\r"):
        position += 1
    return position


def _expect(text: str, position: int, character: str) -> int:
    position = _skip(text, position)
    if text[position : position + 1] != character:
        raise ValueError(f"{character!r} expected at {position}")
    return _skip(text, position + 1)


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
