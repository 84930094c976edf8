"""Standard streams that were closed before the start."""

import os
import sys


def open_streams() -> None:
    """Open the null device for standard streams that were closed (`2>&-`).

    Otherwise the next connection would get their descriptor, and be sent what is meant for people.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Without `pathlib`, whose import would add half to the time until here.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
