"""The one sentence that users read about what a rule hides."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

#: Installers show it as a reason phrase, on one line.
MAX_SENTENCE = 200
_MAX_LABEL = 80
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S = 86_400
_DAY_MINUTES = 24 * 60
#: The end of a shown time for each minute of the day: a page may have thousands of them.
_CLOCK = [f" {hour:02d}:{minute:02d} UTC" for hour in range(24) for minute in range(60)]


class Sentences:
    """The sentences of a rule: `hidden by the rule LABEL: FACT; REASON`.

    Each has at most 200 characters, all of them printable. It names neither file nor project, so
    that one sentence serves all files of which it is true.
    """

    def __init__(self, label: str, reason: str = "") -> None:
        self._start = f"hidden by the rule {_clip(printable(label), _MAX_LABEL)}: "
        self._end = f"; {printable(reason)}" if reason else ""

    def about(self, fact: str) -> str:
        """The sentence with this fact, which is more important than the operator's reason."""
        text = self._start + fact + self._end
        if len(text) <= MAX_SENTENCE and text.isprintable():
            return text
        return _clip(printable(text), MAX_SENTENCE)


def printable(text: str) -> str:
    """The text on one line, with `?` for what a terminal or a header might act on."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line)


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def utc(seconds: float) -> datetime | None:
    """The time in UTC that is so many seconds after the epoch; None before year 1 or after 9999."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return None


def shown_time(seconds: float) -> str:
    """A time for people: `2026-11-24 08:12 UTC`, rounded down to the minute."""
    return _shown_minute(int(seconds // 60))


def shown_after(seconds: float) -> str:
    """The same, rounded up: what is announced for then is true then."""
    return _shown_minute(-int(-seconds // 60))


def _shown_minute(minute: int) -> str:
    day, of_day = divmod(minute, _DAY_MINUTES)
    return _shown_day(day) + _CLOCK[of_day]


@lru_cache(maxsize=4096)
def _shown_day(day: int) -> str:
    start = utc(day * _DAY_S)
    if start is None:
        return "a year after 9999," if day > 0 else "a year before 1,"
    return start.date().isoformat()


def shown_duration(seconds: float) -> str:
    """A duration for people, in the largest unit in which it is a whole number: `7 days`."""
    for unit, length in (("day", _DAY_S), ("hour", 3600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return f"{seconds:g} s"
