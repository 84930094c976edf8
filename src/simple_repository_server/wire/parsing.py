"""What reading JSON and reading HTML have in common: from odd values to a clean `File` or none.

One bad entry never costs a page: an optional value that makes no sense, or is longer than any
honest one, is left out; an entry without a usable name or address is dropped and counted.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice

import msgspec

from simple_repository_server.distributions.filenames import versions_of
from simple_repository_server.errors import InvalidName, Malformed
from simple_repository_server.model import File, ProjectPage, ProjectStatus, Status
from simple_repository_server.names import MAX_NAME, FileName, ProjectName

# Digests clients can check; of the variable-length ones no client knows which length is meant.
HASH_NAMES = frozenset(n for n in hashlib.algorithms_guaranteed if not n.startswith("shake"))
#: A size with more digits is none, and some clients refuse a page with such a number as a whole.
MAX_SIZE_DIGITS = 18
#: The longest there may be, in characters: of addresses (signed ones have one or two thousand), of
#: what stands in front of each of them, of sentences for people and of Requires-Python.
MAX_URL, MAX_BASE_URL, MAX_REASON, MAX_REQUIRES_PYTHON = 8_192, 1_024, 4_096, 1_024
#: No page within the limit of size has as many, but one made to fill the memory.
MAX_FILES, MAX_VERSIONS = 200_000, 100_000
_HEX = re.compile(r"[0-9a-f]+")
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_MAJOR = re.compile(r"\s*(\d+)\.\d+\s*")


class Read(msgspec.Struct, frozen=True):
    """A page that was read, and what had to be dropped on the way."""

    page: ProjectPage
    #: How many entries could not be used, and a short text on one of them for the log.
    dropped: int = 0
    example: str = ""


def clean_file(
    name: str,
    url: str,
    resolve: Callable[[str], str | None],
    *,
    hashes: Mapping[str, str],
    size: int | None,
    upload_time: datetime | None,
    requires_python: str | None,
    core_metadata: bool | Mapping[str, str],
    yanked: bool | str,
    gpg_sig: bool | None,
    provenance: str | None,
) -> File | str:
    """The file, without values nobody can use; or, as a text, what cannot be used as one."""
    address = resolve(url) if len(url) <= MAX_URL else None
    if address is None or len(address) > MAX_URL:
        return f"{name[:80]} (address {url[:80]!r})"
    try:
        filename = FileName(name)
    except InvalidName as error:
        return str(error)
    if isinstance(yanked, str) and len(yanked) > MAX_REASON:
        yanked = True
    return File(
        filename=filename,
        url=address,
        hashes=hashes,
        size=size if size is not None and 0 <= size < 10**MAX_SIZE_DIGITS else None,
        upload_time=clean_time(upload_time),
        requires_python=_short(requires_python, MAX_REQUIRES_PYTHON) if requires_python else None,
        core_metadata=core_metadata,
        yanked=yanked or False,
        gpg_sig=gpg_sig,
        provenance=_short(provenance, MAX_URL) if provenance else None,
    )


def _short(text: str | None, longest: int) -> str | None:
    return text if text and len(text) <= longest else None


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
    text = _short(reason, MAX_REASON) if isinstance(reason, str) else None
    return ProjectStatus(known, text)


def clean_versions(texts: Iterable[object]) -> tuple[str, ...]:
    """Those of the texts that may be versions, as they are spelt, unique."""
    usable = (text for text in texts if isinstance(text, str) and 0 < len(text) <= MAX_NAME)
    return tuple(dict.fromkeys(islice(usable, MAX_VERSIONS)))


def clean_serial(serial: object) -> int | None:
    """The serial of a page or list, if it is one."""
    if isinstance(serial, int) and not isinstance(serial, bool):
        return serial if abs(serial) < 10**MAX_SIZE_DIGITS else None
    return None


def check_project(found: object, project: ProjectName) -> None:
    """Refuse the page of another project. Raises `Malformed`."""
    try:
        name = ProjectName(found) if isinstance(found, str) else project
    except InvalidName:
        return
    if name != project:
        raise Malformed(f"it gave the page of {name!r} for that of {project!r}")


class Entries(msgspec.Struct, frozen=True):
    """The files among the entries of a page, and what was dropped."""

    files: tuple[File, ...]
    dropped: int
    example: str


def collect(entries: Iterable[File | str]) -> Entries:
    """Takes files, or texts that say what could not be used: they are counted.

    Of files with the same name, or wheels whose names differ only in how the project is spelt, the
    first one stays.
    """
    files: dict[str, File] = {}
    dropped, example = 0, ""
    for entry in entries:
        if isinstance(entry, str):
            reason = entry
        elif len(files) >= MAX_FILES:
            reason = f"{entry.filename} (more than {MAX_FILES} files)"
        elif files.setdefault(_same_file(entry.filename), entry) is not entry:
            reason = f"{entry.filename} (listed twice)"
        else:
            continue
        dropped, example = dropped + 1, example or reason
    return Entries(tuple(files.values()), dropped, example)


def assemble(
    project: ProjectName,
    entries: Entries,
    *,
    versions: tuple[str, ...] | None,
    status: ProjectStatus | None,
    serial: int | None,
) -> Read:
    """The page; versions are derived from the files where upstream does not list them (PEP 700)."""
    files = entries.files
    if versions is None:
        versions = versions_of((file.filename for file in files), project)
    page = ProjectPage(name=project, files=files, versions=versions, status=status, serial=serial)
    return Read(page, entries.dropped, entries.example)


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
