"""From arguments and the environment to settings: the only place that reads the environment."""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import platformdirs

from simple_repository_server.config.settings import DirectorySource, IndexSource, Source
from simple_repository_server.upstream.credentials import (
    Credentials,
    netrc_credentials,
    split_credentials,
)
from simple_repository_server.upstream.egress import Egress, egress_from

PYPI = "pypi"
APP = "simple-repository-server"
_NO_HOST = re.compile(r"[\s<>\"\\^`{|}%]")


class BadSetting(Exception):
    """Something the user asked for cannot be; the text says what, where, and what to do."""


def pypi_url() -> str:
    """The address of the public Python Package Index's simple index."""
    from distlib.index import DEFAULT_INDEX

    parts = urlsplit(DEFAULT_INDEX)
    return f"{parts.scheme}://{parts.netloc}/simple/"


def load_sources(
    texts: Sequence[str],
    *,
    forbidden_means_absent: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> tuple[Source, ...]:
    """The sources, in their order; without any, PyPI alone.

    Raises `BadSetting` for the first one that is neither an index nor a directory.
    """
    sources = [load_source(text) for text in texts or (PYPI,)]
    unknown = set(forbidden_means_absent) - set(texts)
    if unknown:
        raise BadSetting(f"--forbidden-means-absent names {min(unknown)!r}, which is no SOURCE.")
    netrc = netrc_file(environment)
    loaded: list[Source] = []
    for text, source in zip(texts or (PYPI,), sources, strict=True):
        if isinstance(source, IndexSource):
            source = _with_netrc(source, netrc, explicit="NETRC" in environment)  # noqa: PLW2901
            absent = text in forbidden_means_absent
            source = msgspec.structs.replace(source, forbidden_means_absent=absent)  # noqa: PLW2901
        loaded.append(source)
    return tuple(loaded)


def load_source(text: str) -> Source:
    """One source: an address, a directory, or `pypi`. Raises `BadSetting`."""
    if text == PYPI:
        return IndexSource(url=pypi_url())
    if "://" in text or text.lower().startswith(("http:", "https:")):
        return _index(text)
    if not text:
        raise BadSetting("A SOURCE is empty. Leave it out, or give '.' for this directory.")
    path = Path(text)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise BadSetting(
            f"{text}: {reason}. A source is an existing directory, an http(s) address or 'pypi'."
        ) from error
    if not stat.S_ISDIR(mode):
        raise BadSetting(f"{text} is no directory. Give the directory the file lies in.")
    if not os.access(path, os.R_OK | os.X_OK):
        raise BadSetting(f"{text}: this directory cannot be read. Check its permissions.")
    return DirectorySource(path=path)


def _index(text: str) -> IndexSource:
    try:
        _check_password(text)
        url, credentials = split_credentials(text)
        parts = urlsplit(url)
        _check_host(parts.netloc)
    except ValueError as error:
        shown = text.rpartition("@")[2]
        raise BadSetting(f"{shown} is no http(s) address of a simple index ({error}).") from error
    if parts.query or parts.fragment:
        raise BadSetting(f"{url}: the address of an index has no '?' or '#' in it.")
    return _with(IndexSource(url=url), credentials)


def _check_password(text: str) -> None:
    before, at, _ = text.partition("@")
    if at and ("#" in before or "?" in before):
        raise ValueError("'#' and '?' in a password must be written as %23 and %3F")


def _check_host(netloc: str) -> None:
    if _NO_HOST.search(netloc):
        raise ValueError("there are characters in its host that no host has")


def _with(source: IndexSource, credentials: Credentials | None) -> IndexSource:
    if credentials is None:
        return source
    return msgspec.structs.replace(source, user=credentials.user, password=credentials.password)


def load_egress(
    sources: Sequence[Source],
    *,
    proxy: str | None = None,
    ca_file: Path | None = None,
    offline: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Egress:
    """How the indexes among the sources are reached. Raises `BadSetting`.

    Where there is none to be reached, the environment is no matter.
    """
    if offline or not any(isinstance(source, IndexSource) for source in sources):
        environment = {}
    try:
        return egress_from(environment, proxy=proxy, ca_file=ca_file)
    except ValueError as error:
        raise BadSetting(str(error)) from error


def netrc_file(environment: Mapping[str, str]) -> Path | None:
    """The netrc file to use: that of `NETRC`, or `~/.netrc` if that is not set.

    `NETRC` set to anything but a regular file means none, without falling back.
    """
    if "NETRC" in environment:
        path = Path(environment["NETRC"])
    else:
        path = Path(environment.get("HOME") or Path.home()) / ".netrc"
    return path if path.is_file() else None


def _with_netrc(source: IndexSource, netrc: Path | None, *, explicit: bool) -> IndexSource:
    if netrc is None or source.user is not None:
        return source
    try:
        return _with(source, netrc_credentials(netrc, source.url))
    except ValueError as error:
        if explicit:
            raise BadSetting(f"The netrc file {error}. Correct it, or unset NETRC.") from error
        raise BadSetting(
            f"The netrc file {error}. Correct it, or set NETRC= to go without it."
        ) from error


def digests_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where digests of local files are kept: below the user's cache directory."""
    return _user_folder(environment) / "digests.sqlite"


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where pages, files and metadata are kept by default: below the user's cache directory."""
    return _user_folder(environment) / "index"


def _user_folder(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CACHE_HOME")
    return Path(home) / APP if home else platformdirs.user_cache_path(APP, appauthor=False)


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def parse_size(text: str, *, option: str) -> int:
    """Bytes from the text of an option, as `10GB`, `512 MiB` or `2000000`. Raises `BadSetting`."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        reason = "is no size. Give bytes, or a number with a unit, as 10GB."
        raise BadSetting(f"{option} {text!r} {reason}")
    number, unit, binary = found.groups()
    factor = _UNITS[unit.lower()]
    if binary:
        factor = 1024 ** list(_UNITS).index(unit.lower())
    return int(float(number) * factor)
