"""What the folder of a cache looks like, and whether one is ours."""

import os
from pathlib import Path

#: How much a cache keeps if nobody says: 10 GB.
DEFAULT_MAX_BYTES = 10 * 1000**3
KINDS = ("files", "pages", "metadata", "links")
SERVED, PARTIAL, LOCK, TAG = "served", "partial", "lock", "CACHEDIR.TAG"
#: What tells passwords apart, and which projects were refreshed by hand.
KEY, CHANGES = "key", "changes"
#: All that belongs there.
OURS = frozenset({*KINDS, SERVED, PARTIAL, LOCK, TAG, KEY, CHANGES})
TAG_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder is a cache of simple-repository-server: backups may leave it out.\n"
)

NOT_OURS = "is not empty, and no cache of simple-repository-server"


def may_be_cache(folder: Path) -> bool:
    """Whether we may keep things there, and remove them: it is our cache, or empty, or not there.

    A cache that was deleted while servers ran, and made again by them, may be without its tag.
    """
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except OSError:
        return True  # not there yet, or of no use, which will be told when it is to be used
    return not names or has_tag(folder) or (PARTIAL in names and names <= OURS)


def has_tag(folder: Path) -> bool:
    """Whether the folder says that it is a cache of ours."""
    try:
        return (folder / TAG).read_bytes().strip() == TAG_TEXT.encode().strip()
    except OSError:
        return False
