"""Patterns of projects and versions: `corp-*`, `requests<2.32`, `urllib3==2.6.1`."""

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import translate

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version
from typing_extensions import override

from simple_repository_server.distributions.filenames import parse_version

_PATTERN = re.compile(r"(?P<glob>[^\s<>=!~]*)\s*(?P<specifier>.*)", re.DOTALL)
_GLOB = re.compile(r"[A-Z0-9._*?-]+", re.IGNORECASE | re.ASCII)
_SEPARATORS = re.compile(r"[-_.]+")
_WILDCARDS = re.compile(r"[*?]+")
#: `==` and one version, with nothing else: these are looked up instead of compared.
_ONE_VERSION = re.compile(r"==\s*(?P<version>[^=,*\s]+)")
#: How many names' matches are remembered by each `Patterns`, at most and for each glob.
_REMEMBERED_NAMES = 4096
_REMEMBERED_PER_GLOB = 16


class _Versions(msgspec.Struct, gc=False):
    """The versions of a project that patterns match."""

    #: Whether one of them has no specifier.
    whole: bool = False
    #: Those of specifiers that name one version.
    exact: frozenset[Version] = frozenset()
    specifiers: tuple[SpecifierSet, ...] = ()

    def match(self, version: Version) -> bool:
        """Whether the version is one of them."""
        if self.exact and self._is_exact(version):
            return True
        return any(one.contains(version, prereleases=True) for one in self.specifiers)

    def among(self, versions: Sequence[Version]) -> set[int]:
        """The identities of the versions that are among them."""
        found = {id(one) for one in versions if self._is_exact(one)} if self.exact else set()
        for specifiers in self.specifiers:
            found.update(map(id, specifiers.filter(versions, prereleases=True)))
        return found

    def _is_exact(self, version: Version) -> bool:
        # `==1.0` also matches 1.0+local (PEP 440).
        return version in self.exact or (
            version.local is not None and Version(version.public) in self.exact
        )


_NONE = _Versions()


class _Globs:
    """Globs with wildcards, each tried only on names that contain its longest literal part.

    So a thousand times as many globs take about the same time, unless their literal parts are the
    same. Those that begin with a literal part are found by that, which takes less time still.
    """

    def __init__(self, globs: Iterable[tuple[str, _Versions]]) -> None:
        self._by_start: dict[str, list[tuple[re.Pattern[str], _Versions]]] = {}
        self._by_part: dict[str, list[tuple[re.Pattern[str], _Versions]]] = {}
        for glob, versions in globs:
            start, *others = _WILDCARDS.split(glob)
            table, key = (self._by_start, start) if start else (self._by_part, max(others, key=len))
            table.setdefault(key, []).append((re.compile(translate(glob)), versions))
        self._start_lengths = sorted({len(start) for start in self._by_start})
        self._part_lengths = sorted({len(part) for part in self._by_part})

    def find(self, name: str) -> Iterator[_Versions]:
        """The versions of each glob that matches the name."""
        keys = {name[:length] for length in self._start_lengths}
        candidates = [self._by_start[key] for key in keys & self._by_start.keys()]
        if self._by_part:
            length = len(name)
            keys = {
                name[at : at + size]
                for size in self._part_lengths
                for at in range(length - size + 1)
            }
            candidates += [self._by_part[key] for key in keys & self._by_part.keys()]
        for candidate in candidates:
            for glob, versions in candidate:
                if glob.match(name):
                    yield versions


class Patterns:
    """Globs of project names, each with an optional version specifier (PEP 440).

    In a glob `*` is any text and `?` one character; names are normalised (`Corp_*` is `corp-*`).
    Specifiers match pre-releases, too. A file whose version is unknown is matched only by patterns
    without a specifier. Raises ValueError, which names the pattern, if one is empty or invalid.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        #: The patterns as they were given.
        self.texts = tuple(texts)
        exact: dict[str, list[_Versions]] = {}
        globs: dict[str, list[_Versions]] = {}
        for text in self.texts:
            glob, versions = _parsed(text)
            table = globs if _WILDCARDS.search(glob) else exact
            table.setdefault(glob, []).append(versions)
        self._exact = {name: _union(found) for name, found in exact.items()}
        self._globs = _Globs([(glob, _union(found)) for glob, found in globs.items()])
        # Exact names are found as fast as what is remembered. The memory is in proportion to the
        # patterns, as there may be 10,000 rules with a few each.
        self._remembers = min(_REMEMBERED_NAMES, _REMEMBERED_PER_GLOB * len(globs))
        self._known: dict[str, _Versions] = {}

    def matches_project(self, name: str) -> bool:
        """Whether a pattern matches any version of the project; `name` must be normalised."""
        return self._of(name) is not _NONE

    def whole(self, name: str) -> bool:
        """Whether a pattern without a specifier matches the project."""
        return self._of(name).whole

    def matches(self, name: str, version: Version | str | None) -> bool:
        """Whether a pattern matches this version of the project; None: the version is unknown."""
        versions = self._of(name)
        if versions is _NONE or versions.whole or version is None:
            return versions.whole
        parsed = parse_version(version) if isinstance(version, str) else version
        return parsed is not None and versions.match(parsed)

    def among(self, name: str, versions: Iterable[Version | None]) -> set[int]:
        """The identities (`id`) of those of the project's versions that `matches` is true for.

        Many at once take a fraction of the time.
        """
        matching = self._of(name)
        if matching.whole:
            return set(map(id, versions))
        known = [one for one in versions if one is not None] if matching is not _NONE else ()
        return matching.among(known)

    def _of(self, name: str) -> _Versions:
        if not self._remembers:
            return self._exact.get(name, _NONE)
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= self._remembers:
                self._known.clear()
            known = self._known[name] = self._find(name)
        return known

    def _find(self, name: str) -> _Versions:
        found = list(self._globs.find(name))
        if name in self._exact:
            found.append(self._exact[name])
        return _union(found)

    @override
    def __repr__(self) -> str:
        return f"Patterns({list(self.texts)!r})"


def _union(found: list[_Versions]) -> _Versions:
    """What any of them matches."""
    if len(found) == 1:
        return found[0]
    union = _NONE
    if found:
        exact = frozenset().union(*(one.exact for one in found))
        specifiers = tuple(spec for one in found for spec in one.specifiers)
        union = _Versions(any(one.whole for one in found), exact, specifiers)
    return union


def _parsed(text: str) -> tuple[str, _Versions]:
    """The normalised glob of a pattern, and the versions that it matches."""
    match = _PATTERN.fullmatch(text.strip())
    glob, specifier = match.group("glob", "specifier") if match else ("", "")
    if not glob:
        raise ValueError(f"the pattern {text!r} names no project")
    if not _GLOB.fullmatch(glob):
        raise ValueError(
            f"the pattern {text!r} is no glob of project names: these consist of letters, digits, "
            "'-', '_' and '.', and '*' and '?' stand for any characters"
        )
    normal = _SEPARATORS.sub("-", glob).lower()
    if normal.startswith("-") or normal.endswith("-"):
        raise ValueError(
            f"the pattern {text!r} matches no project name: these begin and end with a letter or "
            "digit"
        )
    if not specifier:
        return normal, _Versions(whole=True)
    try:
        versions = SpecifierSet(specifier, prereleases=True)
    except InvalidSpecifier:
        raise ValueError(
            f"the pattern {text!r} has no valid version specifier: {specifier!r}"
        ) from None
    one = _ONE_VERSION.fullmatch(specifier)
    if one:
        return normal, _Versions(exact=frozenset({Version(one["version"])}))
    return normal, _Versions(specifiers=(versions,))
