"""Mistakes in a configuration file: all of them are collected, and reported at once."""

import re
from collections.abc import Sequence

import msgspec
from typing_extensions import override

from simple_repository_server.config.load import BadSetting

#: Where something is in the file: keys of tables, and positions in arrays.
KeyPath = tuple[str | int, ...]
#: Of a URL, also of one that was read as a path; but not those of our own example.
_CREDENTIALS = re.compile(r"([a-z][a-z0-9+.-]*:/{1,2})(?!\$\{USER\}:)[^\s'\"]*@", re.IGNORECASE)
_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Mistake(msgspec.Struct, frozen=True):
    """One mistake; its text is the line `FILE:LINE: KEY: what is wrong; what to do`."""

    #: "" for an argument or a variable.
    file: str
    #: 0 if it is not known.
    line: int
    #: As in `indexes.main.rules[2].min-age` (rules are counted from 1); "" for the file as a whole.
    key: str
    text: str

    @override
    def __str__(self) -> str:
        if not self.file:  # an argument or a variable
            return self.text
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.text}" if self.key else f"{where}: {self.text}"


class Mistakes(BadSetting):
    """All mistakes of a configuration file, a line for each, in the order of the file."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda one: one.line))
        super().__init__("\n".join(map(str, self.mistakes)))


class Report:
    """Collects what is wrong, by key."""

    def __init__(self) -> None:
        self.found: dict[KeyPath, list[str]] = {}
        self._with_all_above: set[KeyPath] = set()

    def add(self, where: KeyPath, text: str) -> None:
        """Something is wrong with the value at `where`, or with its key.

        Of URLs in the text, which may be quoted from any value, user and password are masked.
        """
        text = _CREDENTIALS.sub(r"\1…@", text)
        texts = self.found.setdefault(where, [])
        self._with_all_above.update(where[:length] for length in range(len(where) + 1))
        if text not in texts:
            texts.append(text)

    def has(self, where: KeyPath) -> bool:
        """Whether something at or below `where` is wrong."""
        return where in self._with_all_above


def shown_key(path: KeyPath) -> str:
    """A path as people write it: `sources.pypi.url`, `indexes.main.rules[2].deny`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            name = part if _BARE.fullmatch(part) else f'"{part}"'
            text += f".{name}" if text else name
    return text
