"""Links: which content an address had, for files whose index gives no sha256."""

import msgspec


class Link(msgspec.Struct, kw_only=True):
    """The content an address had, for files whose index gives no sha256."""

    sha256: str
    size: int
    #: What the origin said it was, and when it was last asked.
    version: str | None
    confirmed_at: float
