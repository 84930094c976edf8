"""The message at the start: the address, the sources in their order, and how to use the index."""

import socket
from collections.abc import Iterator

from simple_repository_server.config.rule_settings import RuleSettings
from simple_repository_server.config.settings import (
    DirectorySource,
    IndexSettings,
    IndexSource,
    Settings,
    Source,
)
from simple_repository_server.model import FilesMode
from simple_repository_server.names import shown_path
from simple_repository_server.observe.sizes import shown_size
from simple_repository_server.version import __version__
from simple_repository_server.web.usage import install_lines

#: Addresses in documentation networks (RFC 5737, RFC 3849), routed like any other remote address.
_REMOTE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
#: How many rules of one source or index the message lists.
_MAX_RULES = 20
_WILDCARDS = {
    "0.0.0.0": socket.AF_INET,  # noqa: S104 - compared, not bound
    "::": socket.AF_INET6,
}


def banner(settings: Settings, index: str, wide: bool, *, implicit: bool) -> str:
    """The start-up message for an index at the address `index`.

    `wide`: whether other machines can reach it; `implicit`: whether the user gave no SOURCE.
    """
    lines = [f"simple-repository-server {__version__} serves {index}"]
    if implicit:
        lines.append("No SOURCE was given, so PyPI is served:")
    elif len(settings.sources) > 1:
        lines.append("Sources, by priority (the first one that has a project provides it):")
    else:
        lines.append("Source:")
    for position, source in enumerate(settings.sources, 1):
        lines.append(f"  {position}. {describe(source, settings)}")
        lines += rule_lines(settings.source_rules.get(position - 1, ()), "     ", _MAX_RULES)
    if any(index.name or index.rules or index.snapshots for index in settings.indexes):
        lines += ["Indexes:", *index_lines(settings, _MAX_RULES)]
    if settings.cache is None:
        lines.append("Cache: none (nothing is written to disk)")
    else:
        lines.append(f"Cache: {settings.cache} (up to {shown_size(settings.cache_bytes)})")
    if settings.config is not None:
        lines.append(f"Configuration: {shown_path(str(settings.config))}")
    if settings.offline:
        lines.append("Offline: only the cache is served; no requests are sent to indexes.")
    lines += ["Install with:", *(f"  {line}" for line in install_lines(index))]
    if wide:
        lines.append("Warning: the server is reachable from other machines without authentication.")
    return "\n".join(lines)


def describe(source: Source, settings: Settings) -> str:
    """One source: its name, its path or URL, and how clients get its files."""
    name = f"{source.name}: " if source.name else ""
    if isinstance(source, DirectorySource):
        return f"{name}{source.shown} (directory)"
    private = " with credentials" if source.is_private else ""
    return f"{name}{source.shown} (remote index{private}, files {_files(source, settings)})"


def index_lines(settings: Settings, most: int | None = None) -> Iterator[str]:
    """Each index: its addresses, its sources, and its rules in their order, at most so many."""
    for index in settings.indexes or (IndexSettings(sources=tuple(range(len(settings.sources)))),):
        yield f"  {_index(index, settings)}"
        yield from rule_lines(index.rules, "    ", most)


def rule_lines(
    rules: tuple[RuleSettings, ...], indent: str, most: int | None = None
) -> Iterator[str]:
    """One line for each rule, at most so many."""
    for rule in rules[:most]:
        yield f"{indent}{rule.label}{' (dry run)' if rule.dry_run else ''}"
    if most is not None and len(rules) > most:
        yield f"{indent}and {len(rules) - most:,} more: see `simple-repository-server config check`"


def _index(index: IndexSettings, settings: Settings) -> str:
    places = [f"/{index.name}/simple/"] if index.name else []
    if index.default:
        places.append("/simple/")
    sources = [settings.sources[at].name or settings.sources[at].shown for at in index.sources]
    snapshots = ", with snapshots" if index.snapshots else ""
    return f"{' and '.join(places)}: {', '.join(sources)}{snapshots}"


def _files(source: IndexSource, settings: Settings) -> str:
    if settings.offline:
        return "from the cache"
    files = source.files or settings.files
    if files is FilesMode.REDIRECT and not source.is_private:
        return "by redirect"
    if settings.cache is not None and files is not FilesMode.STREAM:
        return "through this server and its cache"
    return "through this server"


def index_url(host: str, port: int) -> str:
    """The address of the index for clients.

    For a server on all addresses (`0.0.0.0`, `::`), its host is the source address of packets to
    other networks: the best guess. Nothing is sent to determine it.
    """
    family = _WILDCARDS.get(host)
    if family is not None:
        host = _own_address(family)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/simple/"


def _own_address(family: socket.AddressFamily) -> str:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_REMOTE[family], 9))
            return str(probe.getsockname()[0])
    except OSError:  # no route
        return "127.0.0.1" if family == socket.AF_INET else "::1"
