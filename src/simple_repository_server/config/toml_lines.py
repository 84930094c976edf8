"""On which line each key of a TOML text is: what `tomllib` does not say.

The text is scanned with the grammar of TOML 1.0 as far as keys need it. Of invalid text it returns
what it understands; it never raises, and always ends.
"""

import re
from bisect import bisect_right

import msgspec

from simple_repository_server.config.mistakes import KeyPath

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)'""")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\[\]{}#\n\"']+")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}
_MAX_CODE = 0x10FFFF
#: `tomllib` refuses deeper values, so nothing after them is read.
_MAX_DEPTH = 100


class Second(msgspec.Struct, frozen=True):
    """A key or table that stands in the text a second time."""

    path: KeyPath
    line: int
    first: int
    #: Where its key, or all between the brackets of its header, is in the text.
    start: int
    end: int


class Lines(msgspec.Struct, frozen=True):
    """The line of each key and element, and what stands in the text twice."""

    by_path: dict[KeyPath, int]
    seconds: tuple[Second, ...]

    def of(self, path: KeyPath) -> int:
        """The line of the path, or of the nearest part of it that is in the text; 0 if none is."""
        while path:
            if path in self.by_path:
                return self.by_path[path]
            path = path[:-1]
        return 0


def lines_of(text: str) -> Lines:
    """The lines of all keys of a TOML text, counted from 1."""
    scan = _Scan(text)
    scan.document()
    return Lines(scan.lines, tuple(scan.seconds))


class _Scan:
    """One pass over the text; `position` is where it is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.lines: dict[KeyPath, int] = {}
        self.seconds: list[Second] = []
        self._newlines = [found.start() for found in re.finditer("\n", text)]
        #: How many tables each array of tables has so far.
        self._counts: dict[KeyPath, int] = {}
        self._headers: dict[KeyPath, int] = {}

    def document(self) -> None:
        """Scan everything."""
        table: KeyPath = ()
        while True:
            self._skip(_BLANK)
            if self.position >= len(self.text):
                return
            before = self.position
            if self.text[before] == "[":
                table = self._header()
            else:
                self._pair(table, depth=0)
            if self.position == before:
                self._next_line()

    def _header(self) -> KeyPath:
        line = self._line(self.position)
        many = self.text.startswith("[[", self.position)
        self.position += 2 if many else 1
        start = self.position
        path = self._resolved(self._key())
        end = self.position
        self._next_line()
        if not path:
            return ()
        if many:
            count = self._counts.get(path, 0)
            self._counts[path] = count + 1
            self.lines.setdefault(path, line)
            path = (*path, count)
        elif path in self._headers:
            self.seconds.append(Second(path, line, self._headers[path], start, end))
            # Its keys are not those of the first one.
            path = (*path[:-1], f"{path[-1]} {len(self.seconds)}")
        self._headers.setdefault(path, line)
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)
        return path

    def _resolved(self, key: KeyPath) -> KeyPath:
        """The path of a header: in an array of tables it means the last one so far."""
        path: KeyPath = ()
        for part in key[:-1]:
            path = (*path, part)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return (*path, *key[-1:])

    def _pair(self, table: KeyPath, depth: int) -> None:
        line, start = self._line(self.position), self.position
        key = self._key()
        if not key:
            return
        path = (*table, *key)
        if path in self.lines and path not in self._headers:
            self.seconds.append(Second(path, line, self.lines[path], start, self.position))
        for length in range(len(table) + 1, len(path) + 1):
            self.lines.setdefault(path[:length], line)
        self._skip(_SPACE)
        if self.text.startswith("=", self.position):
            self.position += 1
            self._skip(_SPACE)
            self._value(path, depth)

    def _key(self) -> KeyPath:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            found = _PART.match(self.text, self.position)
            if found is None:
                return tuple(parts)
            self.position = found.end()
            basic, literal = found.groups()
            parts.append(_plain(basic) if basic is not None else literal or found[0].strip("'"))
            self._skip(_SPACE)
            if not self.text.startswith(".", self.position):
                return tuple(parts)
            self.position += 1

    def _value(self, path: KeyPath, depth: int) -> None:
        opening = self.text[self.position : self.position + 1]
        if opening in ("[", "{"):
            self.position = self.position + 1 if depth < _MAX_DEPTH else len(self.text)
            self._members(path, depth + 1, closing="]" if opening == "[" else "}")
            return
        found = _STRING.match(self.text, self.position) or _SCALAR.match(self.text, self.position)
        if found is not None:
            self.position = found.end()

    def _members(self, path: KeyPath, depth: int, closing: str) -> None:
        """The elements of an array, or the pairs of an inline table, up to its end."""
        count = 0
        while True:
            self._skip(_BLANK)
            if self.position >= len(self.text):
                return
            before = self.position
            if self.text[before] == closing:
                self.position += 1
                return
            if self.text[before] == ",":
                self.position += 1
            elif closing == "}":
                self._pair(path, depth)
            else:
                self.lines[(*path, count)] = self._line(before)
                self._value((*path, count), depth)
                count += 1
            if self.position == before:
                self.position += 1

    def _skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self.text, self.position)
        if found is not None:
            self.position = found.end()

    def _next_line(self) -> None:
        end = self.text.find("\n", self.position)
        self.position = len(self.text) if end < 0 else end + 1

    def _line(self, position: int) -> int:
        return bisect_right(self._newlines, position - 1) + 1


def _plain(basic: str) -> str:
    """A basic string without its escapes."""
    return _ESCAPE.sub(_unescaped, basic) if "\\" in basic else basic


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    if code is None:
        return _ESCAPED.get(found[3], found[3])
    return chr(int(code, 16)) if int(code, 16) <= _MAX_CODE else ""
