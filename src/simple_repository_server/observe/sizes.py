"""Numbers of bytes as people write and read them: the one unit system of the command.

kB, MB, GB and TB are powers of 1000 (SI), KiB, MiB, GiB and TiB powers of 1024 (IEC 80000-13); a
number without a unit is bytes. What is shown is in the former, and can be read back.
"""

import re
from decimal import Decimal
from functools import lru_cache

_STEP = 1000
_UNITS = ("kB", "MB", "GB", "TB")
_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?) ?(?:([kmgt])(i)?)?b?", re.IGNORECASE)
#: More than any disk has.
_MOST = 2**60


@lru_cache(maxsize=1024)
def shown_size(count: float) -> str:
    """`17 B`, `1.2 kB`, `10.0 GB`; what is larger than terabytes ends there."""
    if count < _STEP:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= _STEP
        # Rounded to a thousand it is one of the next unit.
        if round(count, 1) < _STEP or unit == _UNITS[-1]:
            break
    return f"{count:.1f} {unit}"


def parse_size(text: str) -> int:
    """Bytes from `10GB`, `512 MiB`, `1.5 TB` or `2000000`.

    Raises `ValueError` with what is wrong, to go on with behind the text.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError("is no size; give bytes, or a number with a unit, as 10GB or 512MiB")
    number, unit, binary = found.groups()
    power = "kmgt".index(unit.lower()) + 1 if unit else 0
    size = int(Decimal(number) * (1024 if binary else _STEP) ** power)
    if size > _MOST:
        raise ValueError("is more than there can be")
    return size
