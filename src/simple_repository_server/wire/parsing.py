"""Rules that parsing JSON and parsing HTML share: limits, and the values of a page.

The files of a page are in `files.py`.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice

import msgspec

from simple_repository_server.distributions.filenames import versions_of
from simple_repository_server.errors import InvalidName, Malformed
from simple_repository_server.model import File, ProjectPage, ProjectStatus, Status
from simple_repository_server.names import MAX_NAME, ProjectName

# Digests clients can check; those of variable length have no length in their name.
HASH_NAMES = frozenset(n for n in hashlib.algorithms_guaranteed if not n.startswith("shake"))
#: No file is larger, and some clients reject a whole page with a larger number.
MAX_SIZE_DIGITS = 18
#: Limits in characters. Signed addresses have one or two thousand.
MAX_URL = 8_192
#: Of `<base>`, which is part of each address of the page.
MAX_BASE_URL = 1_024
#: Of sentences for people.
MAX_REASON = 4_096
MAX_REQUIRES_PYTHON = 1_024
#: Limits for pages made to fill the memory.
MAX_FILES = 200_000
MAX_VERSIONS = 100_000
HEX = re.compile(r"[0-9a-f]+")
_SHA256HEX = re.compile(r"[0-9a-f]{64}")
_MAJOR = re.compile(r"\s*(\d+)\.\d+\s*")


class ParsedPage(msgspec.Struct, frozen=True):
    """A page, and what had to be dropped from it."""

    page: ProjectPage
    #: How many entries were unusable.
    dropped: int = 0
    #: A short text on one of them, for the log.
    example: str = ""


def short_text(text: str | None, longest: int) -> str | None:
    """The text; None if it is empty or longer than that."""
    return text if text and len(text) <= longest else None


def check_version(version: object) -> None:
    """Reject an API version of another major (PEP 629). Raises `Malformed`.

    An absent version means 1.0.
    """
    if version is None:
        return
    found = _MAJOR.fullmatch(version) if isinstance(version, str) else None
    if found is None or found.group(1) != "1":
        raise Malformed(f"it has API version {str(version)[:20]!r}; only 1.x is supported")


def parse_hashes(hashes: Mapping[str, str | None]) -> Mapping[str, str]:
    """The digests a client can use: known names, lowercase hex, sha256 first."""
    if len(hashes) == 1:
        value = hashes.get("sha256")
        if value and _SHA256HEX.fullmatch(value):
            return {"sha256": value}
    usable = {}
    for name, value in hashes.items():
        known = name.lower()
        digest = (value or "").strip().lower()
        if known in HASH_NAMES and HEX.fullmatch(digest) and _fits(known, digest):
            usable[known] = digest
    return dict(sorted(usable.items(), key=lambda item: item[0] != "sha256"))


def _fits(name: str, digest: str) -> bool:
    return len(digest) == 2 * hashlib.new(name, usedforsecurity=False).digest_size


def parse_time(moment: datetime | None) -> datetime | None:
    """The moment in UTC; one without a zone is taken to be in UTC already (PEP 700)."""
    if moment is None or moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def parse_status(status: object, reason: object) -> ProjectStatus | None:
    """The status if it is one of the four of PEP 792."""
    try:
        known = Status(str(status))
    except ValueError:
        return None
    text = short_text(reason, MAX_REASON) if isinstance(reason, str) else None
    return ProjectStatus(known, text)


def parse_versions(texts: Iterable[object]) -> tuple[str, ...]:
    """Those of the texts that may be versions, as they are spelt, unique."""
    usable = (text for text in texts if isinstance(text, str) and 0 < len(text) <= MAX_NAME)
    return tuple(dict.fromkeys(islice(usable, MAX_VERSIONS)))


def parse_serial(serial: object) -> int | None:
    """The serial of a page or list, if it is one."""
    if isinstance(serial, int) and not isinstance(serial, bool):
        return serial if abs(serial) < 10**MAX_SIZE_DIGITS else None
    return None


def check_project(found: object, project: ProjectName) -> None:
    """Reject the page of another project. Raises `Malformed`."""
    try:
        name = ProjectName(found) if isinstance(found, str) else project
    except InvalidName:
        return
    if name != project:
        raise Malformed(f"it sent the page of {name!r} for that of {project!r}")


class Entries(msgspec.Struct, frozen=True):
    """The files among the entries of a page, and what was dropped."""

    files: tuple[File, ...]
    dropped: int
    example: str


def collect(entries: Iterable[File | str], project: ProjectName) -> Entries:
    """Takes files, or texts that say why an entry is unusable: these are counted.

    Of files with the same name, or wheels whose names differ only in how the project is spelt, the
    first one stays.
    """
    files: dict[str, File] = {}
    dropped, example = 0, ""
    prefix = project.replace("-", "_") + "-"
    for entry in entries:
        if isinstance(entry, str):
            reason = entry
        elif len(files) >= MAX_FILES:
            reason = f"{entry.filename} (more than {MAX_FILES} files)"
        else:
            name = entry.filename
            key = name if name.startswith(prefix) else _same_file(name)
            if files.setdefault(key, entry) is entry:
                continue
            reason = f"{name} (listed twice)"
        dropped, example = dropped + 1, example or reason
    return Entries(tuple(files.values()), dropped, example)


def build_page(
    project: ProjectName,
    entries: Entries,
    *,
    versions: tuple[str, ...] | None,
    status: ProjectStatus | None,
    serial: int | None,
) -> ParsedPage:
    """The page; versions are derived from the files where upstream does not list them (PEP 700)."""
    files = entries.files
    if versions is None:
        versions = versions_of((file.filename for file in files), project)
    page = ProjectPage(name=project, files=files, versions=versions, status=status, serial=serial)
    return ParsedPage(page, entries.dropped, entries.example)


def _same_file(filename: str) -> str:
    """A key that is equal for file names clients take for the same."""
    if not filename.endswith(".whl"):
        return filename
    name, dash, rest = filename.partition("-")
    return name.lower().replace(".", "_") + dash + rest


def project_names(texts: Iterable[object]) -> Iterator[ProjectName]:
    """Those of the texts that are project names, normalised."""
    for text in texts:
        if isinstance(text, str):
            try:
                yield ProjectName(text)
            except InvalidName:
                continue
