"""What a repository answers with: immutable values in the terms of the Simple API.

Pages and lists are *snapshots*: deeply immutable, compared by identity. A repository whose data
has not changed returns the same object again, so whatever was computed from it (a filtered page,
rendered bytes) is still right, and nothing is computed twice. The one live thing attached to a
snapshot is its `Freshness`, which its source keeps up to date.

Reading, in order: PEP 503, 592, 629, 691, 658, 714, 700, 740, 792.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import chain
from sys import getsizeof
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from typing_extensions import override

from simple_repository_server.names import FileName, PackedNames, ProjectName

NOTHING: Mapping[str, object] = MappingProxyType({})
_NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})

#: What a page takes without its files, and once more where metadata is announced on a copy of it.
_PAGE_BYTES = 1000
#: What a file takes beside its texts and digests: itself, its size and time, its place in two
#: tables of names, and a copy of it, on which metadata is announced.
_FILE_BYTES = 450
_LIST_BYTES, _NAME_BYTES = 1000, 120
_TEXT_BYTES = getsizeof("")
_ONE_DIGEST_BYTES = getsizeof({"sha256": ""})


class File(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One distribution file of a project (PEP 691, "Project detail").

    `url` is where its source fetches it from; clients are given an address of this server.
    """

    filename: FileName
    url: str
    #: Hash name → lowercase hex digest; names `hashlib` knows, sha256 first. May be empty.
    hashes: Mapping[str, str]
    #: In bytes; None if unknown (PEP 700 wants it known from API version 1.1 on).
    size: int | None = None
    #: In UTC; None if unknown.
    upload_time: datetime | None = None
    #: The Requires-Python of the core metadata, verbatim.
    requires_python: str | None = None
    #: Whether `<file>.metadata` answers; the digests of those bytes where known (PEP 658, 714).
    core_metadata: bool | Mapping[str, str] = False
    #: Its source has read the file: where it announces no metadata, there is none to be read.
    inspected: bool = False
    #: A non-empty string is the reason (PEP 592).
    yanked: bool | str = False
    gpg_sig: bool | None = None
    #: The absolute address of the file's provenance object (PEP 740).
    provenance: str | None = None
    #: Keys with a leading underscore (PEP 700); never another server's.
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


class FreshnessInfo(NamedTuple):
    """How fresh a snapshot is at one moment, as the headers of an answer say it (RFC 9111 §5)."""

    #: `Cache-Control: max-age`, in seconds.
    max_age: int
    #: `Age`, in seconds; None for content that is always confirmed.
    age: int | None
    #: `Warning: 110`: why it is stale; None while it is not.
    warning: str | None


_UNKNOWN = FreshnessInfo(0, None, None)


class Freshness:
    """What a source knows of how current a snapshot is; the source keeps it up to date.

    It lives beside the content, because a page that was confirmed unchanged is the same page.
    Times are seconds since the epoch, as `time.time` gives them.
    """

    __slots__ = ("lifetime_s", "stale_reason", "validated_at", "verdict")

    def __init__(self, *, validated_at: float = 0.0, lifetime_s: float = 0.0) -> None:
        self.validated_at = validated_at
        #: How long a client may keep its copy without asking; 0: it must always ask.
        self.lifetime_s = lifetime_s
        #: Why the source could not confirm the snapshot, once its lifetime was over.
        self.stale_reason: str | None = None
        #: What its cache decided when it was last asked for it (`cache/policy.py`).
        self.verdict = ""

    def at(self, now: float) -> FreshnessInfo:
        """What the headers of an answer sent at `now` say of it."""
        if self.lifetime_s <= 0 and self.stale_reason is None:
            return _UNKNOWN
        if now < self.validated_at:  # the clock was set back: nobody knows for how long it is fresh
            return FreshnessInfo(0, 0, self.stale_reason)
        age = int(now - self.validated_at)
        return FreshnessInfo(int(self.lifetime_s), age, self.stale_reason)


class WeakestFreshness(Freshness):
    """The freshness of something made of several snapshots: that of its weakest part."""

    __slots__ = ("parts",)

    def __init__(self, parts: Iterable[Freshness]) -> None:
        super().__init__()
        self.parts = tuple(parts)

    @override
    def at(self, now: float) -> FreshnessInfo:
        """The shortest lifetime, the highest age and all the warnings of the parts."""
        infos = [part.at(now) for part in self.parts]
        ages = [info.age for info in infos if info.age is not None]
        warnings = [info.warning for info in infos if info.warning]
        max_age = min((info.max_age for info in infos), default=0)
        return FreshnessInfo(max_age, max(ages, default=None), "; ".join(warnings) or None)


class ProjectPage(msgspec.Struct, frozen=True, kw_only=True, eq=False, weakref=True):
    """A snapshot of one project: its files and what is known of it (PEP 691, 700, 792).

    A quarantined project offers no files, whatever it was made with (PEP 792).
    """

    name: ProjectName
    files: tuple[File, ...]
    #: All versions, also such as have no file; unique (PEP 700). See `versions_of`.
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
        if index is None or index[0] is not self.files:  # made, or made for the page copied from
            index = self.files, {file.filename: file for file in self.files}
            msgspec.structs.force_setattr(self, "_index", index)
        return index[1].get(filename)

    @property
    def weight(self) -> int:
        """How many bytes of memory the page holds, with what is made of it; found out once."""
        weighed = self._weighed
        if weighed is None or weighed[0] is not self.files:
            weighed = self.files, _PAGE_BYTES + _weight_of_page(self)
            msgspec.structs.force_setattr(self, "_weighed", weighed)
        return weighed[1]


class ProjectList(msgspec.Struct, frozen=True, kw_only=True, eq=False, weakref=True):
    """A snapshot of the names of all projects: normalised, sorted, unique."""

    #: Of many names, `names.PackedNames`.
    names: Sequence[ProjectName]
    serial: int | None = None
    private: Mapping[str, object] = NOTHING
    #: What is missing: one sentence for each source that could not be asked.
    incomplete: tuple[str, ...] = ()
    freshness: Freshness = msgspec.field(default_factory=Freshness)

    @property
    def weight(self) -> int:
        """About how many bytes of memory the list holds."""
        if isinstance(self.names, PackedNames):
            return _LIST_BYTES + self.names.size
        return _LIST_BYTES + _NAME_BYTES * len(self.names)


def _weight_of_page(page: ProjectPage) -> int:
    # Column by column: a loop over files and their values takes three times as long.
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
        _FILE_BYTES * len(files)
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
    """Of anything that JSON can say; as deep as it may be."""
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
    """How it is asked: what a component may want to know of the request it works for.

    Whatever is asked for, a page, a file or its metadata, by coroutine or by peek, each component
    is given the very context that the one around it was given.

    One whose answer depends on who asks belongs outside combiners and transforms: these let
    requests for the same thing share an answer. It says for pages and files alike what it hides.
    The address of the client is not here, as requests of the same bytes are one to the server.
    """

    #: The client asked for an answer that was confirmed just now (`Cache-Control: no-cache`).
    revalidate: bool = False
    #: The header fields of the request as ASGI has them: names in lower case, bytes as they came.
    headers: Mapping[bytes, bytes] = _NO_HEADERS
    #: What middleware around the index noted of the request (Starlette's `request.state`).
    state: Mapping[str, object] = NOTHING

    def header(self, name: str) -> str:
        """A header field as text, whatever the case of its name; empty if there is none."""
        return self.headers.get(name.lower().encode("latin-1", "replace"), b"").decode("latin-1")


NO_CONTEXT = RequestContext()


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """How a source is doing, for people and for `/readyz`."""

    #: Its address or path, never with credentials.
    label: str
    kind: str
    #: None: not asked yet. False: the last request failed.
    available: bool | None
    #: Whether it does answer while `available` is False: other projects may be had from it.
    answers: bool = False
    #: One sentence on what is wrong, or anything worth knowing.
    detail: str = ""
