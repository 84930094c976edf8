"""Names of projects and files: parsed once, where they enter, and trusted from there on.

`ProjectName` and `FileName` are strings that were validated. Everything behind the edge takes
them, so no component validates a name a second time, and none forgets to.
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
# Characters with a meaning in URLs, headers, file systems or terminals.
_UNSAFE_IN_FILES = re.compile(
    r"[\x00-\x1f\x7f-\x9f/\\\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

#: The longest name of a project or a file, in characters.
MAX_NAME = 255
METADATA_SUFFIX = ".metadata"
#: How many names are sorted in one step, without letting other threads run.
_SORT_STEP = 5_000
#: How many names one string of `PackedNames` holds.
_BLOCK = 500
#: How many parsed names are cached. Invalid texts are not, so each is short.
_CACHED_NAMES = 1024


class ProjectName(str):
    """A project's normalised name (PEP 503): `ProjectName("Foo.Bar") == "foo-bar"`.

    Raises `InvalidName` for a text that is not a project name.
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


@lru_cache(maxsize=_CACHED_NAMES)
def project_name(text: str) -> ProjectName:
    """The same as `ProjectName(text)`, with an LRU cache."""
    return ProjectName(text)


class FileName(str):
    """The name of a distribution file or of its metadata: one safe path segment.

    Raises `InvalidName` for a text that is empty, longer than 255 characters (not counting
    `.metadata` at the end) or hidden (leading dot), or that contains a path separator, a control
    or text-direction character, or a lone surrogate.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        length = len(text.removesuffix(METADATA_SUFFIX))
        if not 0 < length <= MAX_NAME or text[0] == "." or _UNSAFE_IN_FILES.search(text):
            raise InvalidName("file", text)
        return super().__new__(cls, text)

    @property
    def is_metadata(self) -> bool:
        """Whether this names the core metadata of a file instead of a file (PEP 658)."""
        return self.endswith(METADATA_SUFFIX)

    @property
    def distribution(self) -> "FileName":
        """The name of the distribution file: this name without `.metadata` at its end."""
        return FileName(self.removesuffix(METADATA_SUFFIX)) if self.is_metadata else self

    @property
    def metadata(self) -> "FileName":
        """The name of the file's core metadata: this name with `.metadata` at its end."""
        return FileName(self + METADATA_SUFFIX)


@lru_cache(maxsize=_CACHED_NAMES)
def file_name(text: str) -> FileName:
    """The same as `FileName(text)`, with an LRU cache."""
    return FileName(text)


class PackedNames(Sequence[ProjectName]):
    """Many names in a tenth of the memory of a tuple; each access creates the name objects."""

    __slots__ = ("_blocks", "_length")

    def __init__(self, names: Iterable[ProjectName]) -> None:
        self._blocks: list[str] = []
        self._length = 0
        for block in batched(names, _BLOCK):
            # No name contains a line feed.
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
        """How many bytes of memory the names take, approximately."""
        return sum(map(getsizeof, self._blocks)) + getsizeof(self._blocks)


def _unchecked(text: str) -> ProjectName:
    """The name of a text that is known to be valid and normalised."""
    return str.__new__(ProjectName, text)


def sorted_unique(names: Iterable[ProjectName]) -> Sequence[ProjectName]:
    """The names sorted and unique: a tuple for few, `PackedNames` for many.

    A public index has about a million. They are sorted in batches, so that other threads run in
    between and the name objects never exist all at once.
    """
    batches = batched(names, _SORT_STEP)
    first = sorted(set(next(batches, ())))
    return merge_sorted([first, *(PackedNames(sorted(set(batch))) for batch in batches)])


def merge_sorted(lists: Iterable[Iterable[ProjectName]]) -> Sequence[ProjectName]:
    """The union of sorted lists, in the form that `sorted_unique` returns."""
    unique = (name for name, _ in groupby(heapq.merge(*lists)))
    few = tuple(islice(unique, _SORT_STEP))
    return few if len(few) < _SORT_STEP else PackedNames(chain(few, unique))


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`, the last of which may be shorter."""
    source = iter(items)
    while step := list(islice(source, size)):
        yield step


def shown_path(path: str) -> str:
    """A path of a file system as text that can be encoded, also where it has other bytes in it."""
    return path if path.isascii() else path.encode("utf-8", "backslashreplace").decode()
