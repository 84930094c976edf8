"""Sizes in bytes as people write and read them: the one system of units of the command.

kB, MB, GB and TB are powers of 1000 (SI), KiB, MiB, GiB and TiB powers of 1024 (IEC 80000-13); a
number without a unit is bytes. `shown_size` uses SI units, which `parse_size` can read back.
"""

import re
from decimal import Decimal
from functools import lru_cache

_STEP = 1000
_UNITS = ("kB", "MB", "GB", "TB")
_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?) ?(?:([kmgt])(i)?)?b?", re.IGNORECASE)
#: More than any disk has.
_MAX_SIZE = 2**60


@lru_cache(maxsize=1024)
def shown_size(count: float) -> str:
    """`17 B`, `1.2 kB`, `10.0 GB`; the largest unit is the terabyte."""
    if count < _STEP:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= _STEP
        # What rounds to 1000.0 of a unit is 1.0 of the next one.
        if round(count, 1) < _STEP or unit == _UNITS[-1]:
            break
    return f"{count:.1f} {unit}"


def parse_size(text: str) -> int:
    """Bytes from `10GB`, `512 MiB`, `1.5 TB` or `2000000`.

    Raises `ValueError`, whose message continues a sentence that begins with the text.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError("is not a size; write bytes, or a number with a unit, as 10GB or 512MiB")
    number, unit, binary = found.groups()
    power = "kmgt".index(unit.lower()) + 1 if unit else 0
    size = int(Decimal(number) * (1024 if binary else _STEP) ** power)
    if size > _MAX_SIZE:
        raise ValueError("is larger than any disk")
    return size
