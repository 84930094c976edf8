"""A page as rules see it: what several rules need of it is computed once."""

from functools import cached_property

from packaging.version import Version

from simple_repository_server.distributions.filenames import parse_distribution, parse_version
from simple_repository_server.model import File, ProjectPage
from simple_repository_server.names import ProjectName


class PageView:
    """A page, its files in order, and the version of each.

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
        """The version of each file by position; None where its name has no valid one."""
        return tuple(_version_of(file.filename) for file in self.files)


def _version_of(filename: str) -> Version | None:
    found = parse_distribution(filename)
    return None if found is None else parse_version(found.version)
