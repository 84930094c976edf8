"""Which projects and files a rule is about."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from fnmatch import translate
from functools import lru_cache

from packaging.version import Version

from simple_repository_server.model import File
from simple_repository_server.policy.file_kinds import file_kind
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.patterns import Patterns

#: The platform tag of files without one: they are for all platforms.
_ANY_PLATFORM = "any"
#: Which part of a wheel's name has its platform tags, without a build tag.
_PLATFORM_PART = 4
#: Which part of an egg's name has its platform.
_EGG_PLATFORM_PART = 3


class Scope:
    """The files for which all of this holds; with no arguments, all files.

    `projects` and `except_` are patterns (see `Patterns`): only these projects and versions, and
    not those. `kinds` are of `wheel`, `sdist` and `egg`. `larger_than` and `smaller_than` are in
    bytes; files of unknown size are in scope. `platforms` are globs of platform tags (`win*`), in
    lower case; files without one are `any`. Raises ValueError for an invalid pattern or kind.
    """

    def __init__(
        self,
        *,
        projects: Iterable[str] | None = None,
        except_: Iterable[str] = (),
        kinds: Collection[str] | None = None,
        larger_than: int | None = None,
        smaller_than: int | None = None,
        platforms: Iterable[str] | None = None,
    ) -> None:
        self._projects = None if projects is None else Patterns(projects)
        self._except = Patterns(except_)
        self._kinds = None if kinds is None else frozenset(kinds)
        self._larger_than = larger_than
        self._smaller_than = smaller_than
        self._platforms = None if platforms is None else _platform_check(platforms)
        if self._kinds is not None and (unknown := self._kinds - {"wheel", "sdist", "egg"}):
            raise ValueError(f"{min(unknown)!r} is no kind of file: wheel, sdist or egg")
        limits = (self._kinds, larger_than, smaller_than, self._platforms)
        self._limits_files = any(limit is not None for limit in limits)

    def covers_project(self, name: str) -> bool:
        """Whether files of the project may be in scope; `name` must be normalised."""
        if self._projects is not None and not self._projects.matches_project(name):
            return False
        return not self._except.whole(name)

    def covers_whole_project(self, name: str) -> bool:
        """Whether all files of the project are in scope, whatever they are."""
        if self._limits_files or self._except.matches_project(name):
            return False
        return self._projects is None or self._projects.whole(name)

    def covers(self, name: str, version: Version | str | None, file: File) -> bool:
        """Whether this file of the project is in scope; `version` is None if it is unknown."""
        if self._projects is not None and not self._projects.matches(name, version):
            return False
        if self._except.matches(name, version):
            return False
        return not self._limits_files or self._covers_file(file)

    def positions(self, view: PageView) -> Sequence[int]:
        """The positions of the files of a page that are in scope."""
        name, files = view.project, view.files
        if self.covers_whole_project(name):
            return range(len(files))
        if not self.covers_project(name):
            return ()
        different = [version for version, _ in view.by_version]
        inside = set(map(id, different))
        if self._projects is not None:
            inside = self._projects.among(name, different)
        inside -= self._except.among(name, different)
        found: Sequence[int] = [
            at for at, version in enumerate(view.versions) if id(version) in inside
        ]
        if self._limits_files:
            found = [at for at in found if self._covers_file(files[at])]
        return found

    def _covers_file(self, file: File) -> bool:
        if self._kinds is not None and file_kind(file.filename) not in self._kinds:
            return False
        if file.size is not None:
            if self._larger_than is not None and file.size <= self._larger_than:
                return False
            if self._smaller_than is not None and file.size >= self._smaller_than:
                return False
        return self._platforms is None or self._platforms(_platforms_of(file.filename))


def _platforms_of(filename: str) -> str:
    """The platform tags, joined by dots."""
    parts = filename[:-4].split("-")
    if filename.endswith(".whl"):
        # A build tag, and no other part in its place, begins with a digit.
        part = _PLATFORM_PART + (len(parts) > _PLATFORM_PART and parts[2][:1].isdigit())
        return parts[part].lower() if len(parts) > part else _ANY_PLATFORM
    if filename.endswith(".egg") and len(parts) > _EGG_PLATFORM_PART:
        return "_".join(parts[_EGG_PLATFORM_PART:]).lower().replace(".", "_")
    return _ANY_PLATFORM


def _platform_check(globs: Iterable[str]) -> Callable[[str], bool]:
    """Whether one of some platform tags, joined by dots, matches one of the globs; remembered."""
    pattern = re.compile("|".join(translate(glob.lower()) for glob in globs) or r"(?!)")

    @lru_cache(maxsize=1024)
    def check(tags: str) -> bool:
        return any(pattern.match(tag) for tag in tags.split("."))

    return check
