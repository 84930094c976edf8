"""The values that repositories return, immutable and in the terms of the Simple API.

Pages and lists are *snapshots*: deeply immutable, compared by identity. A repository whose data
has not changed returns the same object, so everything computed from it (a filtered page, rendered
bytes) remains valid and is computed once. The only mutable part of a snapshot is its `Freshness`,
which its source updates.

Standards, in reading order: PEP 503, 592, 629, 691, 658, 714, 700, 740, 792.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import chain
from sys import getsizeof
from types import MappingProxyType

import msgspec

from simple_repository_server.freshness import Freshness as Freshness  # noqa: PLC0414 - exported
from simple_repository_server.names import FileName, PackedNames, ProjectName, merge_sorted

NOTHING: Mapping[str, object] = MappingProxyType({})
_NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})

#: Memory of a page without its files, including that of the copy that announces metadata.
_PAGE_BYTES = 1000
#: Memory of a file without its strings and digests: the object, its size and time, its slots in
#: two dictionaries of names, and its copy that announces metadata.
_FILE_BYTES = 450
#: Memory of an ASCII string without its characters.
_TEXT_BYTES = getsizeof("")
#: What a file name takes more than a plain string of the same text.
_FILE_NAME_BYTES = getsizeof(FileName("a")) - getsizeof("a")
#: Memory of a dictionary with one digest.
_ONE_DIGEST_BYTES = getsizeof({"sha256": ""})
#: Memory of a list without its names.
_LIST_BYTES = 1000
#: Memory of a name in a tuple.
_NAME_BYTES = 120


class FilesMode(StrEnum):
    """How clients get a remote file."""

    #: By a redirect to its origin; through this server where the origin requires credentials.
    REDIRECT = "redirect"
    #: Through this server.
    STREAM = "stream"
    #: Through this server, which stores it in its cache.
    CACHE = "cache"


class File(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One distribution file of a project (PEP 691, "Project detail").

    `url` is the address its source fetches it from; clients get an address of this server.
    """

    filename: FileName
    url: str
    #: Algorithm (a name `hashlib` supports, sha256 first) → lowercase hex digest. May be empty.
    hashes: Mapping[str, str]
    #: In bytes; None if unknown (required from API version 1.1 on, PEP 700).
    size: int | None = None
    #: In UTC; None if unknown.
    upload_time: datetime | None = None
    #: The Requires-Python of the core metadata, verbatim.
    requires_python: str | None = None
    #: Whether `<file>.metadata` answers; the digests of those bytes where known (PEP 658, 714).
    core_metadata: bool | Mapping[str, str] = False
    #: Whether its source has read the file. If so, a file without announced metadata has none.
    inspected: bool = False
    #: A non-empty string is the reason (PEP 592).
    yanked: bool | str = False
    gpg_sig: bool | None = None
    #: The absolute address of the file's provenance object (PEP 740).
    provenance: str | None = None
    #: Keys with a leading underscore (PEP 700). Those of other servers are dropped.
    private: Mapping[str, object] = NOTHING

    @property
    def is_wheel(self) -> bool:
        """Whether this is a built distribution in the wheel format."""
        return self.filename.endswith(".whl")


class Status(StrEnum):
    """Project status markers (PEP 792)."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    DEPRECATED = "deprecated"


class ProjectStatus(msgspec.Struct, frozen=True):
    """A project's status and, if given, the reason for it (PEP 792)."""

    status: Status
    reason: str | None = None


class ProjectPage(msgspec.Struct, frozen=True, kw_only=True, eq=False, weakref=True):
    """A snapshot of one project: its files and its metadata (PEP 691, 700, 792).

    The page of a quarantined project has no files: those it is constructed with are dropped
    (PEP 792).
    """

    name: ProjectName
    files: tuple[File, ...]
    #: All versions, including those without files; unique (PEP 700). See `versions_of`.
    versions: tuple[str, ...] = ()
    status: ProjectStatus | None = None
    #: The upstream's serial of the project, for indexes that mirror one upstream.
    serial: int | None = None
    private: Mapping[str, object] = NOTHING
    freshness: Freshness = msgspec.field(default_factory=Freshness)
    _index: tuple[tuple[File, ...], dict[str, File]] | None = None
    _weighed: tuple[tuple[File, ...], int] | None = None

    def __post_init__(self) -> None:
        if self.status is not None and self.status.status is Status.QUARANTINED:
            msgspec.structs.force_setattr(self, "files", ())

    def find(self, filename: str) -> File | None:
        """The file of exactly that name, or None."""
        index = self._index
        if index is None or index[0] is not self.files:  # absent, or copied from another page
            index = self.files, {file.filename: file for file in self.files}
            msgspec.structs.force_setattr(self, "_index", index)
        return index[1].get(filename)

    @property
    def weight(self) -> int:
        """How many bytes of memory the page and its derived copies hold; computed once."""
        weighed = self._weighed
        if weighed is None or weighed[0] is not self.files:
            weighed = self.files, _PAGE_BYTES + _weight_of_page(self)
            msgspec.structs.force_setattr(self, "_weighed", weighed)
        return weighed[1]


class ProjectList(msgspec.Struct, frozen=True, kw_only=True, eq=False, weakref=True):
    """A snapshot of the names of all projects: normalised, sorted, unique."""

    #: A tuple; `names.PackedNames` for many.
    names: Sequence[ProjectName]
    #: Projects that are there and hidden by name: no other source's are listed in their place.
    withheld: Sequence[ProjectName] = ()
    serial: int | None = None
    private: Mapping[str, object] = NOTHING
    #: One sentence for each source whose names are missing.
    incomplete: tuple[str, ...] = ()
    freshness: Freshness = msgspec.field(default_factory=Freshness)

    @property
    def weight(self) -> int:
        """About how many bytes of memory the list holds."""
        return _LIST_BYTES + _weight_of_names(self.names) + _weight_of_names(self.withheld)

    def only(self, is_visible: Callable[[ProjectName], bool]) -> "ProjectList":
        """The list with the names for which that is true; the very list if it is for all."""
        names = merge_sorted([filter(is_visible, self.names)])
        withheld = merge_sorted([filter(is_visible, self.withheld)])
        if len(names) == len(self.names) and len(withheld) == len(self.withheld):
            return self
        return msgspec.structs.replace(self, names=names, withheld=withheld)


def _weight_of_names(names: Sequence[ProjectName]) -> int:
    return names.size if isinstance(names, PackedNames) else _NAME_BYTES * len(names)


def _weight_of_page(page: ProjectPage) -> int:
    # Column by column, in a third of the time that a loop over files and their fields takes.
    files = page.files
    texts: list[str] = [
        *page.versions,
        *[file.filename for file in files],
        *[file.url for file in files],
        *[file.requires_python for file in files if file.requires_python is not None],
        *[file.provenance for file in files if file.provenance is not None],
        *[file.yanked for file in files if isinstance(file.yanked, str)],
    ]
    if page.status is not None and page.status.reason:
        texts.append(page.status.reason)
    digests = [file.hashes for file in files]
    digests += [file.core_metadata for file in files if not isinstance(file.core_metadata, bool)]
    for one in digests:
        texts += one.values()
    named = [one for one in digests if len(one) != 1]
    names = chain.from_iterable(named)
    private = [page.private, *[file.private for file in files if file.private]]
    return (
        (_FILE_BYTES + _FILE_NAME_BYTES) * len(files)
        + 8 * len(page.versions)
        + _weight_of_texts(texts)
        + _ONE_DIGEST_BYTES * (len(digests) - len(named))
        + sum(map(getsizeof, chain(named, names)))
        + (sum(map(_weight_of_value, private)) if any(private) else 0)
    )


def _weight_of_texts(texts: list[str]) -> int:
    joined = "".join(texts)
    if joined.isascii():
        return len(joined) + _TEXT_BYTES * len(texts)
    return sum(map(getsizeof, texts))


def _weight_of_value(value: object) -> int:
    """The memory of a JSON value, nested to any depth."""
    weight, rest = 0, [value]
    while rest:
        one = rest.pop()
        weight += getsizeof(one)
        if isinstance(one, Mapping):
            rest.extend(one)
            rest.extend(one.values())
        elif isinstance(one, (list, tuple)):
            rest.extend(one)
    return weight


class RequestContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a component may know of the request it works for.

    Each component passes the context it was given on unchanged, for pages, files and metadata, by
    coroutine and by peek.

    A component whose answer depends on the user must be outside all combiners and transforms,
    because these share one answer among concurrent requests; it must hide pages and files alike.
    The client's address is absent: the server answers identical requests identically.
    """

    #: Whether the client requires a revalidated answer (`Cache-Control: no-cache`).
    revalidate: bool = False
    #: The header fields of the request as in ASGI: names in lower case, values as raw bytes.
    headers: Mapping[bytes, bytes] = _NO_HEADERS
    #: Values that middleware attached to the request (Starlette's `request.state`).
    state: Mapping[str, object] = NOTHING

    def header(self, name: str) -> str:
        """A header field as text, by its name in any case; "" if absent."""
        return self.headers.get(name.lower().encode("latin-1", "replace"), b"").decode("latin-1")


NO_CONTEXT = RequestContext()


#: The kind of a `SourceState` that is the state of a rule: not available if it cannot be evaluated.
RULE = "rule"


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a source, for people and for `/readyz`."""

    #: Its address or path, never with credentials.
    label: str
    kind: str
    #: Whether its last request succeeded; None before the first one.
    available: bool | None
    #: Whether it responds although `available` is False: requests for other projects may succeed.
    answers: bool = False
    #: One sentence: the last error, or other information; "" for none.
    detail: str = ""
