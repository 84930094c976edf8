"""The settings of a server, as typed and immutable values."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
from typing_extensions import override

from simple_repository_server.cache.freshness import STALE_IF_ERROR_S
from simple_repository_server.config.rule_settings import RuleSettings
from simple_repository_server.disk.allowance import DEFAULT_MAX_BYTES
from simple_repository_server.model import FilesMode
from simple_repository_server.names import shown_path
from simple_repository_server.observe.logs import LogFormat, LogLevel
from simple_repository_server.upstream.egress import Egress
from simple_repository_server.upstream.limits import Limits

DEFAULT_MEMORY_BYTES = 256 * 1000**2
MIN_MEMORY_BYTES = 16 * 1000**2
#: A smaller cache is useless: most likely the unit was forgotten.
MIN_CACHE_BYTES = 1000**2
DEFAULT_CACHE_SIZE = f"{DEFAULT_MAX_BYTES // 1000**3}GB"
DEFAULT_STALE_WHILE_REVALIDATE_S = 300.0
DEFAULT_SHUTDOWN_TIMEOUT_S = 8.0
DEFAULT_SMALL_FILE_BYTES = 256_000
DEFAULT_FORWARDED_ALLOW_IPS = ("127.0.0.1", "::1")


class DirectorySource(msgspec.Struct, frozen=True, kw_only=True):
    """A local directory."""

    path: Path
    #: Its name in the configuration file; "" on the command line.
    name: str = ""

    @property
    def shown(self) -> str:
        """Its path as text that can be encoded."""
        return shown_path(str(self.path))


class IndexSource(msgspec.Struct, frozen=True, kw_only=True):
    """A remote index. Its URL contains no credentials."""

    url: str
    #: Shown instead of a URL that contains a secret; "" if the URL may be shown.
    label: str = ""
    user: str | None = None
    password: str | None = None
    #: Whether status 403 means that the project does not exist.
    forbidden_means_absent: bool = False
    #: Its name in the configuration file; "" on the command line.
    name: str = ""
    #: How clients get its files; None: as `Settings.files` says.
    files: FilesMode | None = None
    #: Its own proxies, certificate authorities and client certificate; None: `Settings.egress`.
    egress: Egress | None = None
    #: Its own limits; None: those of `Settings`, and of `upstream.limits`.
    limits: Limits | None = None
    stale_if_error_s: float | None = None
    stale_while_revalidate_s: float | None = None

    @override
    def __repr__(self) -> str:
        """The representation without secrets."""
        return f"IndexSource(url={self.shown!r})"

    @property
    def is_private(self) -> bool:
        """Whether clients cannot, or must not, fetch its files themselves."""
        presents = self.egress is not None and self.egress.client_cert is not None
        return self.user is not None or bool(self.label) or presents

    @property
    def shown(self) -> str:
        """Its URL without secrets."""
        return self.label or self.url


Source = DirectorySource | IndexSource


class IndexSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One index of the server: its sources in order, and its rules."""

    #: It is at `/NAME/simple/`; "": only at `/simple/`.
    name: str = ""
    #: Whether it is at `/simple/`, too.
    default: bool = True
    #: The sources by their positions in `Settings.sources`.
    sources: tuple[int, ...] = ()
    rules: tuple[RuleSettings, ...] = ()
    #: Whether past states of it are served at `/snapshot/DATE/simple/`.
    snapshots: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of the `serve` command, validated."""

    sources: tuple[Source, ...]
    #: The indexes made of them; none: one at `/simple/` with all sources and no rules.
    indexes: tuple[IndexSettings, ...] = ()
    #: The rules of each source, by its position.
    source_rules: Mapping[int, tuple[RuleSettings, ...]] = MappingProxyType({})
    #: The configuration file, to be read again on SIGHUP and when it changes; None: none is used.
    config: Path | None = None
    #: The folder or zip archive of OSV records.
    osv: Path | None = None
    #: The file of audit records; None: none are written.
    audit: Path | None = None
    #: The folder for what rules must remember (first-seen times, parsed advisories); None: nowhere.
    state: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    #: Host names that requests may use, besides IP addresses and `localhost`.
    allowed_hosts: tuple[str, ...] = ()
    #: Proxies whose `X-Forwarded-…` headers are trusted: addresses, networks, or `*`.
    forwarded_allow_ips: tuple[str, ...] = DEFAULT_FORWARDED_ALLOW_IPS
    files: FilesMode = FilesMode.REDIRECT
    #: The number of processes that serve requests.
    workers: int = 1
    #: Per process; None: as many as its limit on open files allows.
    max_connections: int | None = None
    #: How long requests in flight may take to finish after a signal to stop.
    shutdown_timeout_s: float = DEFAULT_SHUTDOWN_TIMEOUT_S
    #: Files up to this size are served from memory.
    small_file_bytes: int = DEFAULT_SMALL_FILE_BYTES
    #: The folder for pages, files and metadata; None: no cache on disk.
    cache: Path | None = None
    #: The budget of that folder.
    cache_bytes: int = DEFAULT_MAX_BYTES
    #: Serve from the cache only, without sending requests to indexes.
    offline: bool = False
    #: Proxies and certificate authorities for requests to indexes.
    egress: Egress = Egress()
    #: How old a page may become while its index is unavailable.
    stale_if_error_s: float = STALE_IF_ERROR_S
    #: How long a stale page is served while it is revalidated.
    stale_while_revalidate_s: float = DEFAULT_STALE_WHILE_REVALIDATE_S
    #: The budget for everything cached in the memory of one process.
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    log_format: LogFormat = LogFormat.TEXT
    #: The lowest level that is logged.
    log_level: LogLevel = LogLevel.INFO
    #: Answers have a `Cache-Status` header (RFC 9211).
    debug_headers: bool = False
    #: The database for digests of local files; None: digests are not stored.
    digests: Path | None = None
