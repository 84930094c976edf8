"""What is printed at the start: what is served, from where, in which order, and how to use it."""

import ipaddress

from simple_repository_server.config.settings import DirectorySource, IndexSource, Settings, Source
from simple_repository_server.version import __version__


def banner(settings: Settings, port: int, *, implicit: bool) -> str:
    """The start-up message; `implicit` if the user named no source."""
    url = index_url(settings.host, port)
    lines = [f"simple-repository-server {__version__} serves {url}"]
    if implicit:
        lines.append("No SOURCE was given, so it serves PyPI alone:")
    elif len(settings.sources) > 1:
        lines.append("from these sources; the first one that has a project owns it:")
    else:
        lines.append("from this source:")
    for position, source in enumerate(settings.sources, 1):
        lines.append(f"  {position}. {describe(source, settings)}")
    if settings.cache is not None:
        limit = f"{settings.cache_bytes / 1000**3:g} GB"
        lines.append(f"Cache: {settings.cache} (up to {limit})")
    if settings.offline:
        lines.append("Offline: no index is asked, only what is in the cache is served.")
    trusted = "" if is_loopback(settings.host) else f" --trusted-host {_shown_host(settings.host)}"
    insecure = (
        "" if is_loopback(settings.host) else f" --allow-insecure-host {_shown_host(settings.host)}"
    )
    lines += [
        "Use it with",
        f"  pip install --index-url {url}{trusted} PROJECT",
        f"  uv pip install --default-index {url}{insecure} PROJECT",
    ]
    if not is_loopback(settings.host):
        lines.append(
            "Warning: it can be reached from other machines, and asks nobody who they are."
        )
    return "\n".join(lines)


def describe(source: Source, settings: Settings) -> str:
    """One source: where it is, and how clients get its files."""
    if isinstance(source, DirectorySource):
        return f"{source.path} (directory)"
    private = " with credentials" if source.user is not None else ""
    return f"{source.url} (remote index{private}, files {_files(source, settings)})"


def _files(source: IndexSource, settings: Settings) -> str:
    if settings.offline:
        return "from the cache"
    if settings.files == "redirect" and source.user is None:
        return "by redirect"
    if settings.cache is not None and settings.files != "stream":
        return "through this server, kept"
    return "through this server"


def index_url(host: str, port: int) -> str:
    """The address of the index, as a client on this machine would be given it."""
    return f"http://{_shown_host(host)}:{port}/simple/"


def _shown_host(host: str) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{shown}]" if ":" in shown else shown


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
