"""What options mean that need more than their type: pure functions of all options."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simple_repository_server.config.load import BadSetting, cache_folder, state_folder
from simple_repository_server.disk.ownership import NOT_OURS, may_be_cache
from simple_repository_server.model import FilesMode
from simple_repository_server.web.server.forwarded import TrustedProxies

_HOST_NAME = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-][A-Za-z0-9._-]*")


def files_of(options: Mapping[str, Any]) -> FilesMode:
    """How clients get files. Raises `BadSetting`."""
    default = FilesMode.REDIRECT
    if options["stream_http_resources"]:
        default = FilesMode.STREAM
        if options["files"] not in (None, FilesMode.STREAM):
            raise BadSetting(
                f"--stream-http-resources and --files {options['files']} cannot be used together."
            )
    files = FilesMode(options["files"] or default)
    if files is FilesMode.CACHE and options["no_cache"]:
        raise BadSetting("--files cache and --no-cache cannot be used together.")
    return files


def hosts_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The host names that requests may use. Raises `BadSetting`."""
    for name in options["allowed_host"]:
        if not _HOST_NAME.fullmatch(name):
            raise BadSetting(
                f"--allowed-host {name!r} is not a host name. Give it without scheme and port, "
                "as in index.example or *.example, or * for any."
            )
    return tuple(options["allowed_host"])


def proxies_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The proxies whose headers are trusted. Raises `BadSetting`."""
    proxies = tuple(options["forwarded_allow_ips"].split(","))
    try:
        TrustedProxies(proxies)
    except ValueError as error:
        raise BadSetting(
            f"--forwarded-allow-ips: {error}. Give addresses and networks separated by commas, "
            "or * for all."
        ) from error
    return proxies


def cache_of(options: Mapping[str, Any]) -> Path | None:
    """The folder of the cache; None for no cache. Raises `BadSetting`."""
    if options["no_cache"]:
        if options["offline"] or options["cache_dir"]:
            other = "--offline" if options["offline"] else "--cache-dir"
            raise BadSetting(f"{other} and --no-cache cannot be used together.")
        return None
    folder: Path = (options["cache_dir"] or cache_folder()).absolute()
    if not may_be_cache(folder):
        raise BadSetting(f"--cache-dir {folder} {NOT_OURS}. Choose an empty or new directory.")
    return folder


def state_of(options: Mapping[str, Any]) -> Path | None:
    """The folder for what rules must remember; None for nowhere. Raises `BadSetting`."""
    chosen: Path | None = options["state_dir"]
    if chosen is None:
        return None if options["no_cache"] else state_folder().absolute()
    if chosen.exists() and not chosen.is_dir():
        raise BadSetting(f"--state-dir {chosen} is not a directory. Choose another path.")
    return chosen.absolute()
