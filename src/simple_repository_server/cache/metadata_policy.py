"""How long core metadata on disk may be used. Pure decisions, as in `policy.py`."""

from simple_repository_server.disk.metadata_store import MetadataEntry

#: How long metadata may be used that was read out of bytes whose digest was not checked: by ranges
#: out of a larger wheel, it may be another file's. Then it is read again.
UNPROVEN_TTL_S = 24 * 3600.0


def usable_until(entry: MetadataEntry) -> float | None:
    """When the entry expires, in seconds since the epoch; None: never.

    An unproven failure to read is never used: 0.
    """
    if entry.proven:
        return None
    return 0.0 if entry.unreadable else entry.read_at + UNPROVEN_TTL_S
