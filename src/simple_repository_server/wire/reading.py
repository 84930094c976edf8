"""What reading JSON and reading HTML have in common: from odd values to a clean `File` or none.

One bad entry never costs a page: an optional value that makes no sense is left out, an entry
without a usable name or address is dropped and counted.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from simple_repository_server.distributions.filenames import versions_of
from simple_repository_server.errors import InvalidName, Malformed
from simple_repository_server.model import File, ProjectPage, ProjectStatus, Status
from simple_repository_server.names import ProjectName

# Digests clients can check; of the variable-length ones no client knows which length is meant.
HASH_NAMES = frozenset(n for n in hashlib.algorithms_guaranteed if not n.startswith("shake"))
#: A size with more digits is none, and some clients refuse a page with such a number as a whole.
MAX_SIZE_DIGITS = 18
_HEX = re.compile(r"[0-9a-f]+")
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_MAJOR = re.compile(r"\s*(\d+)\.\d+\s*")


class Read(msgspec.Struct, frozen=True):
    """A page that was read, and what had to be dropped on the way."""

    page: ProjectPage
    #: The entries that could not be used, as short texts for the log.
    dropped: tuple[str, ...] = ()


def check_version(version: object) -> None:
    """Refuse an API version we cannot understand (PEP 629: an unknown major is an error).

    Raises `Malformed`. An absent version means 1.0, and any 1.x can be read.
    """
    if version is None:
        return
    found = _MAJOR.fullmatch(version) if isinstance(version, str) else None
    if found is None or found.group(1) != "1":
        raise Malformed(f"it speaks API version {str(version)[:20]!r}, and only 1.x is known")


def clean_hashes(hashes: Mapping[str, str | None]) -> Mapping[str, str]:
    """The digests a client can use: known names, lowercase hex, sha256 first."""
    if len(hashes) == 1:
        value = hashes.get("sha256")
        if value and _SHA256_HEX.fullmatch(value):
            return {"sha256": value}
    usable = {}
    for name, value in hashes.items():
        known = name.lower()
        digest = (value or "").strip().lower()
        if known in HASH_NAMES and _HEX.fullmatch(digest) and _fits(known, digest):
            usable[known] = digest
    return dict(sorted(usable.items(), key=lambda item: item[0] != "sha256"))


def _fits(name: str, digest: str) -> bool:
    return len(digest) == 2 * hashlib.new(name, usedforsecurity=False).digest_size


def clean_time(moment: datetime | None) -> datetime | None:
    """The moment in UTC; one without a zone is taken to be in UTC already (PEP 700)."""
    if moment is None or moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def clean_status(status: object, reason: object) -> ProjectStatus | None:
    """The status if it is one of the four of PEP 792."""
    try:
        known = Status(str(status))
    except ValueError:
        return None
    return ProjectStatus(known, reason if isinstance(reason, str) and reason else None)


def check_project(found: object, project: ProjectName) -> None:
    """Refuse the page of another project. Raises `Malformed`."""
    try:
        name = ProjectName(found) if isinstance(found, str) else project
    except InvalidName:
        return
    if name != project:
        raise Malformed(f"it gave the page of {name!r} for that of {project!r}")


def assemble(
    project: ProjectName,
    entries: Iterable[File | str],
    *,
    versions: tuple[str, ...] | None,
    status: ProjectStatus | None,
    serial: int | None,
    private: Mapping[str, object],
) -> Read:
    """A page of the entries: files, or texts that name what could not be read.

    Of files with the same name, or wheels whose names differ only in how the project is spelt, the
    first one stays. Versions are derived from the files where upstream does not list them; a file
    that none can be derived for is then dropped (PEP 700: `versions` covers every file).
    """
    files: dict[str, File] = {}
    dropped: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            dropped.append(entry)
        elif files.setdefault(_same_file(entry.filename), entry) is not entry:
            dropped.append(f"{entry.filename} (listed twice)")
    if versions is None:
        versions = versions_of((file.filename for file in files.values()), project)
    page = ProjectPage(
        name=project,
        files=tuple(files.values()),
        versions=versions,
        status=status,
        serial=serial,
        private=private,
    )
    return Read(page, tuple(dropped))


def _same_file(filename: str) -> str:
    """A key that is equal for file names clients take for the same."""
    if not filename.endswith(".whl"):
        return filename
    name, _, rest = filename.partition("-")
    return f"{name.lower().replace('.', '_')}-{rest}"


def project_names(texts: Iterable[object]) -> Iterator[ProjectName]:
    """Those of the texts that are project names, normalised."""
    for text in texts:
        if isinstance(text, str):
            try:
                yield ProjectName(text)
            except InvalidName:
                continue
