"""The kinds of values in the configuration file: durations, sizes, dates and paths."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from simple_repository_server.config.durations import parse_duration
from simple_repository_server.config.paths import path_problem
from simple_repository_server.observe import sizes


def _duration(value: object) -> float:
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError as error:
            raise ValueError(f'"{value}" {error}') from error
    raise ValueError(f'{value} has no unit; write it with one, as "7 days" or "36h"')


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = format(value, "f") if isinstance(value, float) else str(value)
    if not isinstance(value, str):
        text = 'it must be a number of seconds, or a text with a unit, as "90 s"'
        raise ValueError(text)  # noqa: TRY004 - pydantic collects these
    try:
        return parse_duration(value, bare=True)
    except ValueError as error:
        raise ValueError(f'"{value}" {error}') from error


def _timeout(value: object) -> float:
    seconds = _seconds(value)
    if not seconds:
        raise ValueError('0 would fail every request; write a number with a unit, as "30 s"')
    return seconds


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        text = 'it must be a number of bytes, or a text with a unit, as "10GB"'
        raise ValueError(text)  # noqa: TRY004 - pydantic collects these
    try:
        return sizes.parse_size(str(value))
    except ValueError as error:
        raise ValueError(f'"{value}" {error}') from error


def _path(value: str) -> str:
    problem = path_problem(value)
    if problem:
        raise ValueError(problem)
    return value


def _moment(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f'"{value}" is not a date; write it as 2026-08-01') from error
    if isinstance(value, datetime):
        # Not `astimezone`, which fails for the first and last days that there are.
        offset = value.utcoffset() or timedelta()
        if not _FIRST_YEAR < value.year < _LAST_YEAR:
            raise ValueError(f"the year {value.year} is a mistake; write it as 2026-08-01")
        return value.replace(tzinfo=UTC) - offset
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ValueError("it must be a date or a date with a time; write it as 2026-08-01")


_FIRST_YEAR, _LAST_YEAR = 1, 9999
_WITH_UNIT = {"type": "string", "pattern": r"^ *[0-9]+(\.[0-9]+)? *[A-Za-z]+ *$"}
_NUMBER_OR_UNIT = {"anyOf": [{"type": "number", "minimum": 0}, _WITH_UNIT]}
_SIZE = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}
_DATE = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}

#: Seconds, of a text with a unit.
Duration = Annotated[float, BeforeValidator(_duration), WithJsonSchema(_WITH_UNIT)]
#: Seconds, of a number or a text with a unit.
Seconds = Annotated[float, BeforeValidator(_seconds), WithJsonSchema(_NUMBER_OR_UNIT)]
Timeout = Annotated[float, BeforeValidator(_timeout), WithJsonSchema(_NUMBER_OR_UNIT)]
Bytes = Annotated[int, BeforeValidator(_size), WithJsonSchema(_SIZE)]
PathText = Annotated[str, AfterValidator(_path)]
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema(_DATE)]
