"""Decoding large JSON texts in steps that let other threads run in between.

Decoding holds Python's lock from beginning to end: done at once, a page of tens of megabytes or the
list of a public index would hold up the event loop for as long.
"""

import json
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import msgspec

from simple_repository_server.errors import Malformed

T = TypeVar("T")

#: Larger texts are decoded in steps; up to here it takes about 20 ms at once.
AT_ONCE_BYTES = 6_000_000


def is_large(text: bytes) -> bool:
    """Whether decoding the text at once would hold up others."""
    return len(text) > AT_ONCE_BYTES


def split_array(
    text: bytes, key: str, convert: Callable[[Any], T]
) -> tuple[dict[str, Any], list[T]]:
    """An object without the array under `key`, and the elements of that array, converted.

    The elements of a large text are decoded and converted one by one, so that other threads run
    in between and not all of them are there at once. Raises `Malformed`.
    """
    found: list[T] | None = None
    try:
        if not is_large(text):
            whole = msgspec.json.decode(text)
            elements = whole.pop(key, None) if isinstance(whole, dict) else None
            if isinstance(elements, list):
                found = list(map(convert, elements))
        else:
            whole, found = _decode_in_steps(text.decode(), key, convert)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed(f"it is not JSON ({error})") from error
    if found is None:
        raise Malformed(f"it is JSON, but without a list of {key}")
    return whole, found


def _decode_in_steps(
    text: str, wanted: str, convert: Callable[[Any], T]
) -> tuple[dict[str, Any], list[T] | None]:
    """A JSON object, of which the array under `wanted` is taken element by element.

    Raises `ValueError`.
    """
    raw_decode = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode

    def decode(text: str, position: int) -> tuple[Any, int]:
        value, position = raw_decode(text, position)
        # Refuses half a surrogate pair, which decoding at once refuses, too: it is no text.
        msgspec.json.encode(value)
        return value, position

    whole: dict[str, Any] = {}
    found: list[T] | None = None
    position = _expect(text, 0, "{")
    while text[position : position + 1] != "}":
        key, position = decode(text, position)
        position = _expect(text, position, ":")
        if key == wanted and text[position : position + 1] == "[":
            found, position = _array_in_steps(text, position, decode, convert)
        else:
            whole[key], position = decode(text, position)
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
    return whole, found


def _array_in_steps(
    text: str,
    position: int,
    decode: Callable[[str, int], tuple[Any, int]],
    convert: Callable[[Any], T],
) -> tuple[list[T], int]:
    elements: list[T] = []
    position = _expect(text, position, "[")
    while text[position : position + 1] != "]":
        element, position = decode(text, position)
        elements.append(convert(element))
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
    return elements, position + 1


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
