"""What the cache needs of an index: its documents requested and parsed, and whether it refuses."""

from typing import Protocol, TypeVar

import msgspec

from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.errors import SourceInvalid
from simple_repository_server.model import ProjectList, ProjectPage

S_co = TypeVar("S_co", ProjectPage, ProjectList, covariant=True)


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What an index answered, at `head.validated_at`."""

    #: Of the document, as it is to be stored; after a 304 of the one there was, brought up to date.
    head: PageHead
    #: Decoded.
    body: bytes = b""
    #: In its content coding, as it is to be stored.
    raw: bytes = b""
    #: 304: the document is still what it was.
    not_modified: bool = False


class Fetcher(Protocol[S_co]):
    """How one kind of document is requested from its index, and parsed."""

    @property
    def label(self) -> str:
        """What errors call the index."""

    async def fetch(self, name: str, known: PageHead | None) -> Fetched:
        """What the index answers, conditionally if there is a `known` document.

        Raises `SourceUnavailable` or one of its kinds.
        """

    async def decode(self, head: PageHead, raw: bytes) -> bytes:
        """The body of a stored document without its content coding. Raises `Malformed`."""

    def parse(self, name: str, head: PageHead, body: bytes) -> S_co:
        """The snapshot. Blocks while it computes. Raises `Malformed`."""

    def unexpected(self, error: Exception) -> SourceInvalid:
        """What to raise for an exception that is a defect, which this reports with a traceback."""


class Refusals(Protocol):
    """Whether the index refused (401, 403) the last request any process sent it."""

    @property
    def holds(self) -> bool:
        """Whether it did, as far as this process knows."""

    @property
    def reason(self) -> str:
        """Why."""

    async def reload(self) -> bool:
        """Whether it did, also by what other processes recorded on disk."""

    def refused(self, reason: str) -> None:
        """Record that it refused a request."""

    def answered(self) -> None:
        """Record that it showed a document."""
