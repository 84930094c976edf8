"""The standard streams, where they were closed."""

import os
import sys


def open_streams() -> None:
    """Put the null device in the place of standard streams that were closed (`2>&-`).

    Otherwise the next connection would get their number, and what is written for people with it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # For good; and without `pathlib`, which would take a third of the time until here.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
