"""Paths in the configuration file."""

import re
from pathlib import Path

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: Limits of Linux: of a name, and of a whole path.
_NAME_BYTES = 255
_PATH_BYTES = 4000


def path_in(folder: Path, text: str) -> Path:
    """The path that a file in `folder` means: relative ones start there, `~` is a home."""
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:  # no such user: as in a shell, it is a name like any other
        return folder / text


def path_problem(text: str) -> str:
    """Why the text is the path of nothing, with the remedy; "" if it may be one."""
    if not text:
        return "it is empty; write a path"
    if _CONTROL.search(text):
        return "it contains control characters; write a path without them"
    names = [len(part.encode()) for part in text.split("/")]
    if max(names) > _NAME_BYTES or len(text.encode()) > _PATH_BYTES:
        return "it is longer than any path; write a shorter one"
    return ""
