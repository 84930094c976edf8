"""What to do with files without an upload time."""

from enum import StrEnum


class Undated(StrEnum):
    """What to do with files without an upload time."""

    REFUSE = "refuse"
    ALLOW = "allow"
    #: Count from when this server first saw the digest.
    FIRST_SEEN = "first-seen"
