"""What the user wants, as typed and immutable values: can be passed to worker processes."""

from pathlib import Path

import msgspec
from typing_extensions import override

from simple_repository_server.cache.freshness import STALE_IF_ERROR_S
from simple_repository_server.disk.allowance import DEFAULT_MAX_BYTES
from simple_repository_server.names import shown_path
from simple_repository_server.upstream.egress import Egress

DEFAULT_MEMORY_BYTES = 256 * 1000**2
MIN_MEMORY_BYTES = 16 * 1000**2
#: How clients get remote files; the first one by default.
FILES = ("redirect", "stream", "cache")
#: Less than that keeps nothing worth it: a number whose unit was forgotten.
MIN_CACHE_BYTES = 1000**2
DEFAULT_CACHE_SIZE = f"{DEFAULT_MAX_BYTES // 1000**3}GB"
DEFAULT_STALE_WHILE_REVALIDATE_S = 300.0
DEFAULT_SHUTDOWN_TIMEOUT_S = 8.0
DEFAULT_SMALL_FILE_BYTES = 256_000
DEFAULT_FORWARDED_ALLOW_IPS = ("127.0.0.1", "::1")


class DirectorySource(msgspec.Struct, frozen=True, kw_only=True):
    """A local directory."""

    path: Path

    @property
    def shown(self) -> str:
        """Where it is."""
        return shown_path(str(self.path))


class IndexSource(msgspec.Struct, frozen=True, kw_only=True):
    """A remote index. Its address is without credentials."""

    url: str
    #: What is shown in the place of an address that has a secret in it; "" for none.
    label: str = ""
    user: str | None = None
    password: str | None = None
    #: Read status 403 as "no such project".
    forbidden_means_absent: bool = False

    @override
    def __repr__(self) -> str:
        """Without any secret."""
        return f"IndexSource(url={self.shown!r})"

    @property
    def is_private(self) -> bool:
        """Whether clients could not, or must not, fetch its files themselves."""
        return self.user is not None or bool(self.label)

    @property
    def shown(self) -> str:
        """The address as anybody may see it."""
        return self.label or self.url


Source = DirectorySource | IndexSource


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the command was asked for."""

    sources: tuple[Source, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    #: Names in the Host header that are answered, beside addresses and `localhost`.
    allowed_hosts: tuple[str, ...] = ()
    #: Proxies whose `X-Forwarded-…` headers are believed: addresses, networks, or `*`.
    forwarded_allow_ips: tuple[str, ...] = DEFAULT_FORWARDED_ALLOW_IPS
    #: How clients get remote files: `redirect`, `stream` or `cache`.
    files: str = "redirect"
    workers: int = 1
    #: Of each process; None: as many as its limit on open files allows.
    max_connections: int | None = None
    #: How long running requests may take to finish once the server was told to stop.
    shutdown_timeout_s: float = DEFAULT_SHUTDOWN_TIMEOUT_S
    #: Files up to this size are answered from memory.
    small_file_bytes: int = DEFAULT_SMALL_FILE_BYTES
    #: Where pages, files and metadata are kept; None: nowhere.
    cache: Path | None = None
    cache_bytes: int = DEFAULT_MAX_BYTES
    #: Serve what is in the cache, and ask no index.
    offline: bool = False
    #: How indexes are reached: proxies and certificates.
    egress: Egress = Egress()
    #: How old a page may get while its index cannot be asked.
    stale_if_error_s: float = STALE_IF_ERROR_S
    #: For how long a stale page is served once more while it is confirmed.
    stale_while_revalidate_s: float = DEFAULT_STALE_WHILE_REVALIDATE_S
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    log_format: str = "text"
    log_level: str = "info"
    #: Answers have a `Cache-Status` header.
    debug_headers: bool = False
    #: Where digests of local files are kept; None: nowhere.
    digests: Path | None = None
