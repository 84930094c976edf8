"""Names of projects and files: parsed once, where they enter, and trusted from there on.

`ProjectName` and `FileName` are strings that cannot be wrong. Everything behind the edge takes
them, so no component checks (or forgets to check) a name a second time.
"""

import heapq
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Self

from simple_repository_server.errors import InvalidName

# Names and normalisation: PyPA "Names and normalization"; ASCII only, \Z and not $.
_VALID = re.compile(r"[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9]", re.IGNORECASE | re.ASCII)
_NORMAL = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_SEPARATORS = re.compile(r"[-_.]+")
# Nothing a URL, a header, a file system or a terminal could take for something else.
_UNSAFE_IN_FILES = re.compile(
    r"[\x00-\x1f\x7f-\x9f/\\\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

MAX_NAME = 255
_SORTED_AT_ONCE = 20_000
_REMEMBERED = 4096
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
    separator, a control or text-direction character, or a lone surrogate in it.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not text or len(text) > MAX_NAME or text[0] == "." or _UNSAFE_IN_FILES.search(text):
            raise InvalidName("file", text)
        return super().__new__(cls, text)

    @property
    def is_metadata(self) -> bool:
        """Whether this names the core metadata of a file, not a file (PEP 658)."""
        return self.endswith(METADATA_SUFFIX)

    @property
    def described(self) -> "FileName":
        """The distribution file this name is about: itself, without a `.metadata` at the end."""
        return FileName(self.removesuffix(METADATA_SUFFIX)) if self.is_metadata else self


def sorted_unique(names: Iterable[ProjectName]) -> tuple[ProjectName, ...]:
    """The names sorted and unique, in steps that let other threads run in between.

    A public index has close to a million of them; sorted at once they would hold up the event loop.
    """
    unique = list(set(names))
    runs = (
        sorted(unique[start : start + _SORTED_AT_ONCE])
        for start in range(0, len(unique), _SORTED_AT_ONCE)
    )
    return tuple(heapq.merge(*runs))
