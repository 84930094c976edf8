"""What an entry of a local directory is by its name: a file to serve, to skip, or a claim."""

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

#: Files that are being written, and files that describe another one.
_IGNORED = (".part", ".partial", ".tmp", ".crdownload", METADATA_SUFFIX, ".asc", ".provenance")
#: Files of such names are expected in the index: where they are not, that is reported.
_EXPECTED = (".whl", ".tar.gz", ".egg")


class Found(msgspec.Struct, frozen=True):
    """A distribution file: its name and its path."""

    filename: FileName
    path: str
    #: A symlink, whose target may change at any time.
    is_link: bool = False
    #: There is a file with its metadata beside it.
    has_sidecar: bool = False

    @property
    def sidecar(self) -> str:
        """The path of the metadata file beside it."""
        return self.path + METADATA_SUFFIX


class Skipped(msgspec.Struct, frozen=True):
    """A file that is not served: why ("": not reported), and which name it claims."""

    path: str
    reason: str
    claim: ProjectName | None = None
    #: A symlink without a target: the target may appear, which the folder does not show.
    is_lost_link: bool = False


def read_entry(
    entry: os.DirEntry[str], root: str, *, has_sidecar: bool
) -> tuple[ProjectName, Found] | Skipped | None:
    """What a file or symlink in the tree below `root` is; None if it is no distribution."""
    name = entry.name
    folder = os.path.basename(os.path.dirname(entry.path))  # noqa: PTH119, PTH120 - for each file
    if name.endswith(_IGNORED):
        described = parse_distribution(name.rpartition(".")[0], folder=folder)
        return Skipped(entry.path, "", described.project) if described else None
    is_link = entry.is_symlink()
    if is_link and stat.S_ISDIR(_target_mode(entry)):
        return Skipped(shown_path(entry.path), "a link to a folder is not followed")
    distribution = parse_distribution(name, folder=folder)
    if distribution is None:
        return _oddly_named(entry) if name.endswith(_EXPECTED) else None
    try:
        filename = FileName(name)
    except InvalidName as error:
        return Skipped(shown_path(entry.path), str(error), distribution.project)
    if is_link and (reason := _link_problem(entry.path, root)):
        return Skipped(entry.path, reason, distribution.project, is_lost_link=True)
    return distribution.project, Found(filename, entry.path, is_link, has_sidecar)


def is_folder_link(entry: os.DirEntry[str]) -> bool:
    """Whether it is a symlink to a folder, or a broken one that is not named like a file."""
    if not entry.is_symlink():
        return False
    mode = _target_mode(entry)
    if stat.S_ISREG(mode):
        return False
    return stat.S_ISDIR(mode) or not (
        entry.name.endswith((*_IGNORED, *_EXPECTED)) or parse_distribution(entry.name)
    )


def _target_mode(entry: os.DirEntry[str]) -> int:
    """The file mode of a symlink's target; 0 if it is broken, a loop, or may not be followed."""
    try:
        return entry.stat().st_mode
    except OSError:
        return 0


def named_project(name: str) -> ProjectName | None:
    """The project of that name, in any spelling; None if it is not a valid name."""
    try:
        return ProjectName(name)
    except InvalidName:
        return None


def _oddly_named(entry: os.DirEntry[str]) -> Skipped:
    reason = "its name does not tell a project and a version"
    return Skipped(shown_path(entry.path), reason, _claimed_by_odd_name(entry.name))


def _claimed_by_odd_name(name: str) -> ProjectName | None:
    """The project that a file with an invalid name seems to belong to.

    What stands before the first version in it, or else all of it: `acme-1.0.whl`, `acme.whl`.
    """
    suffix = next(suffix for suffix in DISTRIBUTION_SUFFIXES if name.endswith(suffix))
    parts = name.removesuffix(suffix).split("-")
    count = next((n for n, part in enumerate(parts) if n and parse_version(part)), len(parts))
    return named_project("-".join(parts[:count])) or named_project(parts[0])


def _link_problem(path: str, root: str) -> str:
    """Why a symlink is not followed; "" if its target is below the root."""
    try:
        target = os.path.realpath(path, strict=True)
    except OSError:
        return "the symlink leads nowhere"
    inside = target.startswith(root.rstrip("/") + "/")
    return "" if inside else "the symlink leads out of the directory"
