"""Names of projects and files: parsed once, where they enter, and trusted from there on.

`ProjectName` and `FileName` are strings that cannot be wrong. Everything behind the edge takes
them, so no component checks (or forgets to check) a name a second time.
"""

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, groupby, islice
from sys import getsizeof
from typing import Self, TypeVar, overload

from typing_extensions import override

from simple_repository_server.errors import InvalidName

T = TypeVar("T")

# Names and normalisation: PyPA "Names and normalization"; ASCII only, \Z and not $.
_VALID = re.compile(r"[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9]", re.IGNORECASE | re.ASCII)
_NORMAL = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_SEPARATORS = re.compile(r"[-_.]+")
# Nothing a URL, a header, a file system or a terminal could take for something else.
_UNSAFE_IN_FILES = re.compile(
    r"[\x00-\x1f\x7f-\x9f/\\\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

MAX_NAME = 255
_SORTED_AT_ONCE = 5_000
_BLOCK = 500
#: How many texts are remembered: those of them that are names, so none is long.
_REMEMBERED = 1024
METADATA_SUFFIX = ".metadata"


class ProjectName(str):
    """A project's normalised name (PEP 503): `ProjectName("Foo.Bar") == "foo-bar"`.

    Raises `InvalidName` for a text that is no project name.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if len(text) > MAX_NAME:
            raise InvalidName("project", text)
        if _NORMAL.fullmatch(text):
            return super().__new__(cls, text)
        if not _VALID.fullmatch(text):
            raise InvalidName("project", text)
        return super().__new__(cls, _SEPARATORS.sub("-", text).lower())


@lru_cache(maxsize=_REMEMBERED)
def project_name(text: str) -> ProjectName:
    """The same as `ProjectName(text)`, remembered for the texts seen last."""
    return ProjectName(text)


class FileName(str):
    """The name of a distribution file or of its sibling: one safe path segment.

    Raises `InvalidName` for a text that is empty, too long, hidden (leading dot), has a path
    separator, a control or text-direction character, or a lone surrogate in it. A file with the
    longest name there can be has metadata, too: `.metadata` at the end does not count.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        length = len(text.removesuffix(METADATA_SUFFIX))
        if not 0 < length <= MAX_NAME or text[0] == "." or _UNSAFE_IN_FILES.search(text):
            raise InvalidName("file", text)
        return super().__new__(cls, text)

    @property
    def is_metadata(self) -> bool:
        """Whether this names the core metadata of a file, not a file (PEP 658)."""
        return self.endswith(METADATA_SUFFIX)

    @property
    def distribution(self) -> "FileName":
        """The distribution file this name is about: itself, without a `.metadata` at the end."""
        return FileName(self.removesuffix(METADATA_SUFFIX)) if self.is_metadata else self


@lru_cache(maxsize=_REMEMBERED)
def file_name(text: str) -> FileName:
    """The same as `FileName(text)`, remembered for the texts seen last."""
    return FileName(text)


class PackedNames(Sequence[ProjectName]):
    """Many names in a tenth of the memory that a tuple of them takes; made anew when looked at."""

    __slots__ = ("_blocks", "_length")

    def __init__(self, names: Iterable[ProjectName]) -> None:
        self._blocks: list[str] = []
        self._length = 0
        for block in batched(names, _BLOCK):
            # No name has a line end in it.
            self._blocks.append("\n".join(block))
            self._length += len(block)

    @override
    def __len__(self) -> int:
        return self._length

    @override
    def __iter__(self) -> Iterator[ProjectName]:
        for block in self._blocks:
            yield from map(_unchecked, block.split("\n"))

    @overload
    def __getitem__(self, index: int) -> ProjectName: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ProjectName]: ...
    @override
    def __getitem__(self, index: int | slice) -> ProjectName | Sequence[ProjectName]:
        if isinstance(index, slice):
            return tuple(self)[index]
        block, place = divmod(range(self._length)[index], _BLOCK)
        return _unchecked(self._blocks[block].split("\n")[place])

    @property
    def size(self) -> int:
        """About how many bytes of memory they take."""
        return sum(map(getsizeof, self._blocks)) + getsizeof(self._blocks)


def _unchecked(text: str) -> ProjectName:
    """The name that a text is known to be."""
    return str.__new__(ProjectName, text)


def sorted_unique(names: Iterable[ProjectName]) -> Sequence[ProjectName]:
    """The names sorted and unique: a tuple of few, `PackedNames` of many.

    A public index has close to a million of them: they are taken in steps that let other threads
    run in between, and never are all there as objects.
    """
    steps = batched(names, _SORTED_AT_ONCE)
    first = sorted(set(next(steps, ())))
    return merged([first, *(PackedNames(sorted(set(step))) for step in steps)])


def merged(lists: Iterable[Iterable[ProjectName]]) -> Sequence[ProjectName]:
    """The names in any of the lists, each of which is sorted; as `sorted_unique` gives them."""
    unique = (name for name, _ in groupby(heapq.merge(*lists)))
    few = tuple(islice(unique, _SORTED_AT_ONCE))
    return few if len(few) < _SORTED_AT_ONCE else PackedNames(chain(few, unique))


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, up to `size` of them at a time."""
    source = iter(items)
    while step := list(islice(source, size)):
        yield step


def shown_path(path: str) -> str:
    """A path of a file system as text that can be encoded, also where it has other bytes in it."""
    return path if path.isascii() else path.encode("utf-8", "backslashreplace").decode()
