"""Parsing names of distribution files: project, version, and kind of distribution.

Follows the binary distribution format, PEP 625 and the names of older tools; accepts seven-part
wheel names (PEP 825). Unparsable names are legal on an index, so nothing here raises for one.
"""

import re
from collections.abc import Iterable

import msgspec
from packaging.version import Version

from simple_repository_server.errors import InvalidName
from simple_repository_server.names import ProjectName

SDIST_SUFFIXES = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar.Z", ".tbz", ".tar")
# Formats of the past, which still stand on indexes; and the index of wheel variants (PEP 825).
OTHER_SUFFIXES = (".exe", ".msi", ".rpm", ".deb", ".dmg", "-variants.json")
DISTRIBUTION_SUFFIXES = (".whl", *SDIST_SUFFIXES, ".egg", *OTHER_SUFFIXES)

_WHEEL_PARTS = range(5, 8)
#: A version that is a release and nothing else, as most are.
_PLAIN_VERSION = re.compile(r"\d{1,18}(?:\.\d{1,18})*", re.ASCII)
_LEADING_VERSION = re.compile(r"\d[\w!+.]*?(?=\.(?:win|linux|macosx|src|noarch)|-|$)", re.ASCII)


class Distribution(msgspec.Struct, frozen=True):
    """The project and version in the name of a wheel, sdist or egg."""

    project: ProjectName
    #: As the file name spells it.
    version: str


def parse_distribution(filename: str, *, folder: str = "") -> Distribution | None:
    """Parse the file name; None if it is not that of a wheel, an sdist or an egg.

    `folder` is the name of the folder the file lies in: where the border between project and
    version is unclear (`foo-2-1.tar.gz`), a folder named like the project decides.
    """
    if filename.endswith(".whl"):
        parts = filename[:-4].split("-")
        return _distribution(parts[0], parts[1]) if len(parts) in _WHEEL_PARTS else None
    if filename.endswith(".egg"):
        parts = filename[:-4].split("-")
        return _distribution(parts[0], parts[1]) if len(parts) > 1 else None
    for suffix in SDIST_SUFFIXES:
        if filename.endswith(suffix):
            return _parse_sdist(filename.removesuffix(suffix), folder)
    return None


def _parse_sdist(stem: str, folder: str) -> Distribution | None:
    if folder and (version := _after_project(stem, _normal(folder))):
        return _distribution(stem[: -len(version) - 1], version)
    name, _, version = stem.rpartition("-")
    return _distribution(name, version)


def _distribution(name: str, version: str) -> Distribution | None:
    try:
        return Distribution(ProjectName(name), version) if parse_version(version) else None
    except InvalidName:
        return None


def parse_version(text: str) -> Version | None:
    """The version as a file name spells it, with `_` for `-`; None if it is none."""
    try:
        return Version(text.replace("_", "-"))
    except ValueError:  # also a number that is too long for Python
        return None


def _normal(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def _after_project(stem: str, project: str) -> str | None:
    """What follows `project-` in the stem of a file name, however the project is spelt there."""
    position = stem.find("-")
    while position != -1:
        if _normal(stem[:position]) == project:
            return stem[position + 1 :]
        position = stem.find("-", position + 1)
    return None


def version_of(filename: str, project: ProjectName) -> str | None:
    """The version of a file that stands on the project's page, as the name spells it, or None."""
    if filename.endswith((".whl", ".egg")):
        parts = filename[:-4].split("-", 2)
        return parts[1] if len(parts) > 1 else None
    for suffix in SDIST_SUFFIXES:
        if filename.endswith(suffix):
            return _after_project(filename.removesuffix(suffix), project)
    for suffix in OTHER_SUFFIXES:
        if filename.endswith(suffix):
            rest = _after_project(filename.removesuffix(suffix), project)
            found = _LEADING_VERSION.match(rest) if rest else None
            return found.group() if found else None
    return None


def versions_of(filenames: Iterable[str], project: ProjectName) -> tuple[str, ...]:
    """The versions of these files: unique, oldest first (PEP 700).

    What is no version (PEP 440) comes first, in the order of its text.
    """
    found = {version_of(filename, project) for filename in filenames}
    return sorted_versions(version for version in found if version)


def sorted_versions(versions: Iterable[str]) -> tuple[str, ...]:
    """The versions, unique and oldest first; texts that are no version stand before them."""
    unique = sorted(set(versions))
    if all(map(_PLAIN_VERSION.fullmatch, unique)):
        return tuple(sorted(unique, key=_release))
    numbers: dict[str, Version] = {}
    odd: list[str] = []
    for text in unique:
        try:
            numbers[text] = Version(text)
        except ValueError:
            odd.append(text)
    return (*odd, *sorted(numbers, key=numbers.__getitem__))


def _release(plain_version: str) -> list[int]:
    """How such a version is ordered (PEP 440): trailing zeros do not count."""
    release = [int(part) for part in plain_version.split(".")]
    while release and not release[-1]:
        release.pop()
    return release
