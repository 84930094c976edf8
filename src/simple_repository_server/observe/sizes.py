"""Numbers of bytes, for people."""

from functools import lru_cache

_STEP = 1000
_UNITS = ("kB", "MB", "GB")


@lru_cache(maxsize=1024)
def shown_size(count: float) -> str:
    """`17 B`, `1.2 kB`, `10.0 GB`; what is larger than terabytes ends there."""
    if count < _STEP:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= _STEP
        if count < _STEP:
            return f"{count:.1f} {unit}"
    return f"{count / _STEP:.1f} TB"
