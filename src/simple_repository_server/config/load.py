"""Settings from arguments and environment: the only module that reads environment variables."""

import os
import posixpath
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import msgspec
import platformdirs

from simple_repository_server.config.addresses import (
    is_address,
    is_safe_to_show,
    parse_address,
    with_credentials,
)
from simple_repository_server.config.settings import DirectorySource, IndexSource, Source
from simple_repository_server.observe import sizes
from simple_repository_server.upstream.credentials import netrc_credentials
from simple_repository_server.upstream.egress import Egress, egress_from
from simple_repository_server.wire.urls import origin_of

PYPI = "pypi"
APP = "simple-repository-server"


class BadSetting(Exception):
    """An invalid setting. The message names it, its defect, and the remedy."""


def pypi_url() -> str:
    """The URL of PyPI's simple index."""
    from distlib.index import DEFAULT_INDEX

    parts = urlsplit(DEFAULT_INDEX)
    return f"{parts.scheme}://{parts.netloc}/simple/"


def load_sources(
    texts: Sequence[str],
    *,
    forbidden_means_absent: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> tuple[Source, ...]:
    """The sources in their order; PyPI alone if there are none.

    Raises `BadSetting` for the first one that is neither an index nor a directory, or that is a
    duplicate.
    """
    texts = texts or (PYPI,)
    unknown = [one for one in forbidden_means_absent if one not in texts]
    if unknown:
        shown = repr(unknown[0]) if is_safe_to_show(unknown[0]) else "a URL"
        raise BadSetting(
            f"--forbidden-means-absent names {shown}, which is not a SOURCE. "
            "Repeat the SOURCE exactly as it is given."
        )
    netrc = netrc_file(environment)
    positions: dict[object, int] = {}
    loaded: list[Source] = []
    for position, text in enumerate(texts, 1):
        source = load_source(text, position, environment)
        if isinstance(source, IndexSource):
            source = with_netrc(source, netrc, explicit="NETRC" in environment)
            absent = text in forbidden_means_absent
            source = msgspec.structs.replace(source, forbidden_means_absent=absent)
        first = positions.setdefault(identity(source), position)
        if first != position:
            what = _shown(text, position)
            raise BadSetting(f"{what} is the same as SOURCE {first}. Give each source only once.")
        loaded.append(source)
    return tuple(loaded)


def load_source(
    text: str, position: int = 1, environment: Mapping[str, str] = os.environ
) -> Source:
    """One source: a URL, a directory, or `pypi`. Raises `BadSetting`.

    Its message names a SOURCE that may contain a secret by its position.
    """
    if text == PYPI:
        return IndexSource(url=pypi_url())
    if is_address(text, environment):
        try:
            return parse_address(text, environment)
        except ValueError as error:
            what = f"{_shown(text, position)} is not a valid URL of a simple index: {error}."
            raise BadSetting(what) from error
    if not text:
        raise BadSetting("A SOURCE is empty. Omit it, or give '.' for the current directory.")
    return _directory(text, _shown(text, position))


def _directory(text: str, shown: str) -> DirectorySource:
    path = Path(text)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "not a valid path").lower()
        raise BadSetting(
            f"{shown}: {reason}. A SOURCE is an existing directory, an http(s) URL, or 'pypi'."
        ) from error
    if not stat.S_ISDIR(mode):
        raise BadSetting(f"{shown} is not a directory. Give the directory that contains the file.")
    if not os.access(path, os.R_OK | os.X_OK):
        raise BadSetting(f"{shown}: the directory is not readable. Check its permissions.")
    return DirectorySource(path=path)


def _shown(text: str, position: int) -> str:
    return text if is_safe_to_show(text) else f"SOURCE {position}"


def identity(source: Source) -> object:
    """A value that is equal for two spellings of the same source."""
    if isinstance(source, DirectorySource):
        return os.path.realpath(source.path)
    path = urlsplit(source.url).path
    spelling = quote(unquote(posixpath.normpath(f"/{path}")), safe="/")
    return origin_of(source.url), spelling, source.user, source.password


def load_egress(
    sources: Sequence[Source],
    *,
    proxy: str | None = None,
    ca_file: Path | None = None,
    offline: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Egress:
    """The proxies and certificate authorities for indexes. Raises `BadSetting`.

    The environment is ignored if no index will be requested.
    """
    if offline or not any(isinstance(source, IndexSource) for source in sources):
        environment = {}
    try:
        return egress_from(environment, proxy=proxy, ca_file=ca_file)
    except ValueError as error:
        raise BadSetting(str(error)) from error


def netrc_file(environment: Mapping[str, str]) -> Path | None:
    """The netrc file: that of the variable `NETRC`, or `~/.netrc` if it is unset.

    None if that is not a regular file; a set `NETRC` never falls back to `~/.netrc`.
    """
    if "NETRC" in environment:
        path = Path(environment["NETRC"])
    else:
        path = Path(environment.get("HOME") or Path.home()) / ".netrc"
    return path if path.is_file() else None


def with_netrc(source: IndexSource, netrc: Path | None, *, explicit: bool) -> IndexSource:
    """The index with the credentials of the netrc file, if it has none of its own.

    `explicit`: whether the variable NETRC names the file. Raises `BadSetting`.
    """
    if netrc is None or source.user is not None:
        return source
    try:
        found = netrc_credentials(netrc, source.url)
    except ValueError as error:
        if explicit:
            raise BadSetting(f"The netrc file {error}. Correct it, or unset NETRC.") from error
        raise BadSetting(
            f"The netrc file {error}. Correct it, or set NETRC= (empty) to ignore it."
        ) from error
    return source if found is None else with_credentials(source, found.user, found.password)


def digests_file(environment: Mapping[str, str] = os.environ) -> Path:
    """The database for digests of local files: below the user's cache directory."""
    return _user_folder(environment) / "digests.sqlite"


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The default folder for what rules must remember: below the user's cache directory."""
    return _user_folder(environment) / "state"


def process_environment() -> Mapping[str, str]:
    """The environment variables of this process."""
    return os.environ


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The default folder for the cache: below the user's cache directory."""
    return _user_folder(environment) / "index"


def _user_folder(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CACHE_HOME")
    return Path(home) / APP if home else platformdirs.user_cache_path(APP, appauthor=False)


def parse_size(text: str, *, option: str, least: int = 0) -> int:
    """The value of a SIZE option in bytes, parsed by `observe.sizes.parse_size`.

    Raises `BadSetting` for an invalid size, or one below `least`.
    """
    try:
        size = sizes.parse_size(text)
    except ValueError as error:
        raise BadSetting(f"{option} {text!r} {error}.") from error
    if size < least:
        raise BadSetting(
            f"{option} {text} ({sizes.shown_size(size)}) is below the minimum of "
            f"{sizes.shown_size(least)}. Give a number with a unit, as in 256MB."
        )
    return size
