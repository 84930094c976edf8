"""What one entry of a local directory is by its name: a file to serve, one to skip, a claim."""

import os
import stat

import msgspec

from simple_repository_server.distributions.filenames import (
    DISTRIBUTION_SUFFIXES,
    parse_distribution,
    parse_version,
)
from simple_repository_server.errors import InvalidName
from simple_repository_server.names import (
    METADATA_SUFFIX,
    FileName,
    ProjectName,
    shown_path,
)

#: What is being written, and what describes another file.
_PASSED_OVER = (".part", ".partial", ".tmp", ".crdownload", METADATA_SUFFIX, ".asc", ".provenance")
#: Whoever puts such a file here expects to find it in the index.
_MEANT_TO_BE = (".whl", ".tar.gz", ".egg")


class Found(msgspec.Struct, frozen=True):
    """A distribution file: its name, and where it lies."""

    filename: FileName
    path: str
    #: It may lead elsewhere the next moment.
    is_link: bool = False
    #: There is a file with its metadata beside it.
    has_sidecar: bool = False

    @property
    def sidecar(self) -> str:
        """Where that file lies."""
        return self.path + METADATA_SUFFIX


class Skipped(msgspec.Struct, frozen=True):
    """Something that is not served: why ("": nobody expects it to be), and whose name it takes."""

    path: str
    reason: str
    claim: ProjectName | None = None
    #: A link: what it leads to may come to be there, which the folder it lies in does not show.
    is_lost_link: bool = False


def read_entry(
    entry: os.DirEntry[str], root: str, *, has_sidecar: bool
) -> tuple[ProjectName, Found] | Skipped | None:
    """What a file, or a link, in the tree below `root` is; None if it is nothing of ours."""
    name = entry.name
    folder = os.path.basename(os.path.dirname(entry.path))  # noqa: PTH119, PTH120 - for each file
    if name.endswith(_PASSED_OVER):
        described = parse_distribution(name.rpartition(".")[0], folder=folder)
        return Skipped(entry.path, "", described.project) if described else None
    is_link = entry.is_symlink()
    if is_link and stat.S_ISDIR(_target_mode(entry)):
        return Skipped(shown_path(entry.path), "a link to a folder is not followed")
    distribution = parse_distribution(name, folder=folder)
    if distribution is None:
        return _oddly_named(entry) if name.endswith(_MEANT_TO_BE) else None
    try:
        filename = FileName(name)
    except InvalidName as error:
        return Skipped(shown_path(entry.path), str(error), distribution.project)
    if is_link and (reason := _leads_astray(entry.path, root)):
        return Skipped(entry.path, reason, distribution.project, is_lost_link=True)
    return distribution.project, Found(filename, entry.path, is_link, has_sidecar)


def is_folder_link(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link to a folder, or to one that is away: to nothing, by no file's name."""
    if not entry.is_symlink():
        return False
    mode = _target_mode(entry)
    if stat.S_ISREG(mode):
        return False
    return stat.S_ISDIR(mode) or not (
        entry.name.endswith((*_PASSED_OVER, *_MEANT_TO_BE)) or parse_distribution(entry.name)
    )


def _target_mode(entry: os.DirEntry[str]) -> int:
    """What a link leads to; 0 if that is nothing, a loop, or closed to us."""
    try:
        return entry.stat().st_mode
    except OSError:
        return 0


def named_project(name: str) -> ProjectName | None:
    """The project of that name, however it is spelt; None if none can have it."""
    try:
        return ProjectName(name)
    except InvalidName:
        return None


def _oddly_named(entry: os.DirEntry[str]) -> Skipped:
    reason = "its name does not tell a project and a version"
    return Skipped(shown_path(entry.path), reason, _claimed_by_odd_name(entry.name))


def _claimed_by_odd_name(name: str) -> ProjectName | None:
    """The project that a file seems to belong to of which the name is no good.

    What stands before the first version in it, or else all of it: `acme-1.0.whl`, `acme.whl`.
    """
    suffix = next(suffix for suffix in DISTRIBUTION_SUFFIXES if name.endswith(suffix))
    parts = name.removesuffix(suffix).split("-")
    count = next((n for n, part in enumerate(parts) if n and parse_version(part)), len(parts))
    return named_project("-".join(parts[:count])) or named_project(parts[0])


def _leads_astray(path: str, root: str) -> str:
    """What is wrong with the target of a symlink; "" if it lies below the root."""
    try:
        target = os.path.realpath(path, strict=True)
    except OSError:
        return "the symlink leads nowhere"
    inside = target.startswith(root.rstrip("/") + "/")
    return "" if inside else "the symlink leads out of the directory"
