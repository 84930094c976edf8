"""A configuration file as parsed: its tables, the line of each key, and mistakes of its syntax."""

import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any

from simple_repository_server.config.mistakes import KeyPath, Mistake, Mistakes, Report, shown_key
from simple_repository_server.config.toml_lines import Lines, lines_of
from simple_repository_server.errors import os_reason

#: More than any server needs; larger files are refused before they are parsed.
_MAX_BYTES = 64 * 1024 * 1024
_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_SECOND = "second-of-the-same-name-"


class Document:
    """The parsed file. Lines are only searched when somebody needs one."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.report = Report()
        self._text = text
        self._of_syntax: list[Mistake] = []
        self.data = self._parsed()

    @cached_property
    def lines(self) -> Lines:
        """The line of each key."""
        return lines_of(self._text)

    @property
    def folder(self) -> Path:
        """What relative paths in the file are relative to."""
        return self.path.parent

    def mistakes(self) -> tuple[Mistake, ...]:
        """All that was reported, with the lines."""
        return tuple(self._of_syntax) + tuple(
            Mistake(str(self.path), self.lines.of(where), shown_key(where), text)
            for where, texts in self.report.found.items()
            for text in texts
        )

    def place(self, where: KeyPath) -> str:
        """`FILE:LINE` of a key."""
        return f"{self.path}:{self.lines.of(where)}"

    def _parsed(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self._text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            seconds = self.lines.seconds
            if not seconds:
                raise Mistakes([self._syntax(error)]) from error
        for second in seconds:
            what = f"it stands in the file a second time (first: line {second.first})"
            text = f"{what}; keep one of them"
            key = shown_key(second.path)
            self._of_syntax.append(Mistake(str(self.path), second.line, key, text))
        # The rest is read without these, so that all mistakes can be reported at once.
        text = self._text
        for number, second in reversed(list(enumerate(seconds))):
            text = f"{text[: second.start]}{_SECOND}{number}{text[second.end :]}"
        try:
            data = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise Mistakes([*self._of_syntax, self._syntax(error)]) from error
        found: dict[str, Any] = _without_seconds(data)
        return found

    def _syntax(self, error: Exception) -> Mistake:
        text = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is nested too deep"
        found = _PLACE.search(text)
        line = int(found[1]) if found and found[1] else self._text.count("\n") + 1
        what = _PLACE.sub("", text)
        column = f", column {found[2]}" if found and found[2] else ""
        return Mistake(
            str(self.path), line, "", f"not valid TOML{column}: {what}; correct it (toml.io)"
        )


def read_document(path: Path) -> Document:
    """The file, parsed. Raises `Mistakes` if it cannot be read or is not TOML."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            # It could be read only once: each worker, and each reload, would read another file.
            text = "is not a regular file; write the configuration to one"
            raise Mistakes([Mistake(str(path), 0, "", text)])
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else "not a valid path"
        text = f"cannot be read: {reason}; correct the path or its permissions"
        raise Mistakes([Mistake(str(path), 0, "", text)]) from error
    if len(content) > _MAX_BYTES:
        text = "is larger than 64 MB; it cannot be a configuration"
        raise Mistakes([Mistake(str(path), 0, "", text)])
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Mistakes([Mistake(str(path), line, "", "not UTF-8; save it as UTF-8")]) from error
    return Document(path, text.replace("\r\n", "\n"))


def _without_seconds(table: Any) -> Any:
    """The tables without those that were renamed."""
    if isinstance(table, dict):
        return {
            key: _without_seconds(value)
            for key, value in table.items()
            if not key.startswith(_SECOND)
        }
    return [_without_seconds(one) for one in table] if isinstance(table, list) else table
