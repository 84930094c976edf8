"""Links: the content of a file whose index states no sha256, by the file's address."""

import msgspec


class Link(msgspec.Struct, kw_only=True):
    """The blob that holds what an address last sent."""

    sha256: str
    size: int
    #: The validator that the origin sent (an ETag or a date); None: it sent none.
    version: str | None
    #: When the origin was last known to have this content, in seconds since the epoch.
    confirmed_at: float
