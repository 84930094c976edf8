"""The standard streams, where they were closed."""

import os
import sys
from pathlib import Path


def open_streams() -> None:
    """Put the null device in the place of standard streams that were closed (`2>&-`).

    Otherwise the next connection would get their number, and what is written for people with it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - for good
            setattr(sys, name, stream)
