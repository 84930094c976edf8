"""Durations as people write them: a number with a unit, such as `7 days`, `36h` or `90 s`."""

import re

_UNITS = {
    "s": 1, "second": 1, "seconds": 1, "sec": 1,
    "m": 60, "min": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400,
    "w": 604800, "week": 604800, "weeks": 604800,
}  # fmt: skip
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) *([a-z]*)", re.ASCII | re.IGNORECASE)
#: A longer one is a mistake.
_MAX_S = 100 * 366 * 86400


def parse_duration(text: str, *, bare: bool = False) -> float:
    """Seconds; `bare`: a number without a unit is in seconds.

    Raises `ValueError`, whose message continues a sentence that begins with the text.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError('is not a duration; write a number and a unit, as "7 days" or "36h"')
    number, unit = found.groups()
    if not unit and not bare:
        raise ValueError(f'has no unit; write, for example, "{number} days" or "{number}h"')
    seconds = _UNITS.get(unit.lower()) if unit else 1
    if seconds is None:
        raise ValueError(f'has the unknown unit "{unit}"; units are s, min, h, days and weeks')
    duration = float(number) * seconds
    if duration > _MAX_S:
        raise ValueError("is longer than 100 years; write less")
    return duration
