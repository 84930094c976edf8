"""What is printed at the start: what is served, from where, in which order, and how to use it."""

import socket

from simple_repository_server.config.settings import DirectorySource, IndexSource, Settings, Source
from simple_repository_server.observe.sizes import shown_size
from simple_repository_server.version import __version__
from simple_repository_server.web.usage import install_lines

#: Of networks for documentation (RFC 5737, RFC 3849): whoever is there is reached the usual way.
_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_ANYWHERE = {"0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}  # noqa: S104 - recognised, not bound


def banner(settings: Settings, index: str, wide: bool, *, implicit: bool) -> str:
    """The start-up message for the address of the index.

    `wide` if other machines reach it, `implicit` if the user named no source.
    """
    lines = [f"simple-repository-server {__version__} serves {index}"]
    if implicit:
        lines.append("No SOURCE was given, so it serves PyPI alone:")
    elif len(settings.sources) > 1:
        lines.append("from these sources; the first one that has a project owns it:")
    else:
        lines.append("from this source:")
    for position, source in enumerate(settings.sources, 1):
        lines.append(f"  {position}. {describe(source, settings)}")
    if settings.cache is None:
        lines.append("Cache: none, nothing is written to disk")
    else:
        lines.append(f"Cache: {settings.cache} (up to {shown_size(settings.cache_bytes)})")
    if settings.offline:
        lines.append("Offline: no index is asked, only what is in the cache is served.")
    lines += ["Use it with", *(f"  {line}" for line in install_lines(index))]
    if wide:
        lines.append("Warning: it is reachable from other machines without authentication.")
    return "\n".join(lines)


def describe(source: Source, settings: Settings) -> str:
    """One source: where it is, and how clients get its files."""
    if isinstance(source, DirectorySource):
        return f"{source.shown} (directory)"
    private = " with credentials" if source.is_private else ""
    return f"{source.shown} (remote index{private}, {_files(source, settings)})"


def _files(source: IndexSource, settings: Settings) -> str:
    if settings.offline:
        return "files from the cache"
    if settings.files == "redirect" and not source.is_private:
        return "files by redirect"
    if settings.cache is not None and settings.files != "stream":
        return "files through this server, kept"
    return "files through this server"


def index_url(host: str, port: int) -> str:
    """The address of the index, as a client would be given it.

    For a server on all addresses it is the one that packets to other networks come from: the best
    guess at where others reach us. Nothing is sent to find it out.
    """
    family = _ANYWHERE.get(host)
    if family is not None:
        host = _own_address(family)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/simple/"


def _own_address(family: socket.AddressFamily) -> str:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_ELSEWHERE[family], 9))
            return str(probe.getsockname()[0])
    except OSError:  # no network
        return "127.0.0.1" if family == socket.AF_INET else "::1"
