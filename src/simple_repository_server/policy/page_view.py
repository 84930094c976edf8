"""A page as rules see it: what several rules need of it is computed once."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from functools import cached_property

from packaging.version import Version

from simple_repository_server.distributions.filenames import parse_version, version_of
from simple_repository_server.model import File, ProjectPage
from simple_repository_server.names import ProjectName
from simple_repository_server.policy.file_kinds import FileKind, file_kind


class PageView:
    """A page, its files in order, and what their names and fields say.

    `files` are those of the page, after the overlays that came first. Positions in it are the keys
    of an `Outcome`.
    """

    def __init__(self, page: ProjectPage, files: tuple[File, ...] | None = None) -> None:
        self.page = page
        self.files = page.files if files is None else files

    @property
    def project(self) -> ProjectName:
        """The name of the project."""
        return self.page.name

    @cached_property
    def versions(self) -> tuple[Version | None, ...]:
        """The version of each file by position; None where its name has no valid one.

        Files whose names spell it alike have the same object.
        """
        parsed = self.parsed
        return tuple([parsed[text] if text else None for text in self._texts])

    @cached_property
    def parsed(self) -> Mapping[str, Version | None]:
        """The version of each text that the files' names spell one with; None: it is none."""
        return {text: parse_version(text) for text in set(self._texts) if text}

    @cached_property
    def _texts(self) -> Sequence[str | None]:
        return [version_of(file.filename, self.project) for file in self.files]

    @cached_property
    def by_version(self) -> tuple[tuple[Version | None, tuple[int, ...]], ...]:
        """Each version with the positions of its files, for what depends on the version alone."""
        groups: dict[int, tuple[Version | None, list[int]]] = {}
        for position, version in enumerate(self.versions):
            # By identity: hashing a version costs ten times as much.
            groups.setdefault(id(version), (version, []))[1].append(position)
        return tuple((version, tuple(positions)) for version, positions in groups.values())

    def overlaid(self, page: ProjectPage, files: tuple[File, ...]) -> "PageView":
        """The page with these files instead, whose names are the same."""
        view = PageView(page, files)
        view.__dict__.update(versions=self.versions, parsed=self.parsed, by_version=self.by_version)
        return view

    @cached_property
    def upload_times(self) -> tuple[float | None, ...]:
        """When each file was uploaded, in seconds since the epoch; None where that is unknown.

        A time without a time zone is in UTC (PEP 700).
        """
        return tuple([_seconds(file) for file in self.files])

    @cached_property
    def kinds(self) -> tuple[FileKind | None, ...]:
        """The kind of each file by position; None for other files."""
        return tuple([file_kind(file.filename) for file in self.files])


def _seconds(file: File) -> float | None:
    time = file.upload_time
    if time is None:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
