"""Kinds of distribution files, by their names."""

from enum import StrEnum

from simple_repository_server.distributions.filenames import SDIST_SUFFIXES

_WHEEL_SUFFIXES = (".whl", "-variants.json")


class FileKind(StrEnum):
    """Kinds of distribution files."""

    WHEEL = "wheel"
    SDIST = "sdist"
    EGG = "egg"


def file_kind(filename: str) -> FileKind | None:
    """The kind of the file; None for formats of the past (`.exe`, `.rpm`) and everything else.

    The index of a version's wheel variants (PEP 825) goes with the wheels.
    """
    if filename.endswith(_WHEEL_SUFFIXES):
        return FileKind.WHEEL
    if filename.endswith(SDIST_SUFFIXES):
        return FileKind.SDIST
    return FileKind.EGG if filename.endswith(".egg") else None
