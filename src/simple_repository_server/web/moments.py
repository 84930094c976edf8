"""The date in the path of a snapshot: `/snapshot/DATE/simple/`."""

import re
from datetime import UTC, datetime

#: RFC 3339, where the time and its zone may be left out, and seconds too.
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_SHOWN = 60


def parse_moment(text: str, now: float) -> datetime:
    """The moment that the text says, in UTC: a date is 00:00 UTC of that day.

    A time without a zone is UTC. Raises `ValueError` with a sentence for what is neither a date
    nor an ISO date-time, and for what is later than `now` (seconds since the epoch).
    """
    shown = text[:_SHOWN]
    moment = _parsed(text)
    if moment is None:
        raise ValueError(
            f"{shown!r} is not a date: a snapshot has one, as in /snapshot/2026-08-01/simple/ "
            "or /snapshot/2026-08-01T12:00:00Z/simple/."
        )
    if moment.timestamp() > now:
        raise ValueError(f"There is no snapshot of {shown!r} yet: it is in the future.")
    return moment


def _parsed(text: str) -> datetime | None:
    if not _MOMENT.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text.upper())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):  # no such day, or none of our calendar
        return None
