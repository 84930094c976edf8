"""The settings in force, each with where it is from; secrets are masked."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec

from simple_repository_server.config.document import Document
from simple_repository_server.config.mistakes import KeyPath, shown_key
from simple_repository_server.config.options import OPTIONS
from simple_repository_server.wire.urls import without_credentials

MASK = "…"
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
#: Keys whose values are masked, unless they only name environment variables.
_SECRET = {"password", "user"}
#: Keys whose values are URLs that may contain a password.
_URLS = {"url", "proxy"}
_WIDTH = 44


class Shown(msgspec.Struct, frozen=True):
    """One setting."""

    key: KeyPath
    #: As TOML has it; a secret is masked. None: not set.
    value: Any
    #: `default`, `--port`, `SRS_PORT` or `FILE:LINE`.
    origin: str


def shown_settings(
    options: Mapping[str, Any],
    origins: Mapping[str, str],
    keys: Mapping[str, KeyPath],
    document: Document | None,
) -> Iterator[Shown]:
    """All options in their order, then what else the file says in its order."""
    for option in OPTIONS:
        value, origin = options[option.parameter], origins.get(option.parameter, "default")
        key = keys.get(option.parameter)
        if key is not None and document is not None:
            origin, value = document.place(key), _at(document.data, key)
        if isinstance(value, tuple):
            value = list(value)
        yield Shown((option.name,), masked((option.name,), value), origin)
    if document is not None:
        used = {key[0] for key in keys.values()} | {option.name for option in OPTIONS} | {"cache"}
        rest = {key: value for key, value in document.data.items() if key not in used}
        yield from _of_file(rest, (), document)


def _at(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[part]
    return data


def _of_file(table: Mapping[str, Any], where: KeyPath, document: Document) -> Iterator[Shown]:
    """The values of a table and of those below it."""
    below: list[tuple[KeyPath, Mapping[str, Any]]] = []
    for key, value in table.items():
        path = (*where, key)
        if isinstance(value, dict):
            below.append((path, value))
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            below += [((*path, at), one) for at, one in enumerate(value)]
        else:
            yield Shown(path, masked(path, value), document.place(path))
    for path, one in below:
        yield from _of_file(one, path, document)


def masked(path: KeyPath, value: Any) -> Any:
    """The value without secrets: variables are shown by their names."""
    if not isinstance(value, str):
        return [masked(path, one) for one in value] if isinstance(value, list) else value
    key = path[-1]
    if key in _SECRET:
        return value if not _VARIABLE.sub("", value) else MASK
    if key in _URLS or "://" in value:
        return _without_password(value)
    return value


def _without_password(url: str) -> str:
    bare = without_credentials(url)
    if bare == url and "@" in url:  # without a scheme, as a proxy may be written
        return f"{MASK}@{url.rpartition('@')[2]}"
    if bare == url:
        return url
    scheme, _, rest = bare.partition("://")
    return f"{scheme}://{MASK}@{rest}"


def as_toml(shown: Iterator[Shown]) -> str:
    """The settings as text that reads like TOML, each with its origin behind it."""
    lines: list[str] = []
    table: KeyPath = ()
    for one in shown:
        if one.key[:-1] != table:
            table = one.key[:-1]
            lines += ["", _header(table)]
        value = "" if one.value is None else f" {_toml(one.value)}"
        name = shown_key(one.key[-1:])
        text = f"{name} ={value}" if value else f"# {name} is not set"
        lines.append(f"{text:<{_WIDTH}}  # {one.origin}")
    return "\n".join(lines)


def _header(table: KeyPath) -> str:
    if isinstance(table[-1], int):
        return f"[[{shown_key(table[:-1])}]]"
    return f"[{shown_key(table)}]"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(str(value), ensure_ascii=False)


def as_json(shown: Iterator[Shown]) -> str:
    """The settings as a JSON array of objects with key, value and origin."""
    return json.dumps(
        [
            {"key": shown_key(one.key), "value": _plain(one.value), "from": one.origin}
            for one in shown
        ],
        indent=2,
        ensure_ascii=False,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path | date | datetime) else value
