"""The options of the server: the one table for the command, the file and its schema."""

from collections.abc import Sequence
from enum import Enum, StrEnum, auto

import msgspec

from simple_repository_server.cache.freshness import STALE_IF_ERROR_S
from simple_repository_server.config.settings import (
    DEFAULT_CACHE_SIZE,
    DEFAULT_FORWARDED_ALLOW_IPS,
    DEFAULT_MEMORY_BYTES,
    DEFAULT_SHUTDOWN_TIMEOUT_S,
    DEFAULT_SMALL_FILE_BYTES,
    DEFAULT_STALE_WHILE_REVALIDATE_S,
)
from simple_repository_server.model import FilesMode
from simple_repository_server.observe.logs import LogFormat, LogLevel


class Kind(Enum):
    """What the value of an option is."""

    TEXT = auto()
    INTEGER = auto()
    #: In the file also a text with a unit, as in `"7 days"`.
    SECONDS = auto()
    SIZE = auto()
    CHOICE = auto()
    FLAG = auto()
    PATH = auto()
    FOLDER = auto()
    #: Repeatable; a list in the file.
    TEXTS = auto()


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One option of the command, and one key of the file."""

    #: As in the file; `--NAME` on the command line, and `SRS_NAME` in the environment.
    name: str
    kind: Kind
    help: str
    default: str | int | None = None
    metavar: str | None = None
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()
    #: Whether a value may contain a password.
    secret: bool = False

    @property
    def parameter(self) -> str:
        """Its name as a Python identifier."""
        return self.name.replace("-", "_")


def _values(kind: type[StrEnum]) -> tuple[str, ...]:
    return tuple(member.value for member in kind)


OPTIONS: Sequence[Option] = (
    Option(
        name="host",
        kind=Kind.TEXT,
        default="127.0.0.1",
        metavar="ADDRESS",
        help="Address to listen on.",
    ),
    Option(
        name="port",
        kind=Kind.INTEGER,
        least=0,
        most=65535,
        default=8000,
        metavar="PORT",
        help="Port to listen on. 0 picks a free one, which is printed.",
    ),
    Option(
        name="allowed-host",
        kind=Kind.TEXTS,
        metavar="NAME",
        help="Accept requests for this host name, for its subdomains (*.NAME), or for any name "
        "(*). Repeatable.  [default: 'localhost' if bound to loopback, else *]",
    ),
    Option(
        name="forwarded-allow-ips",
        kind=Kind.TEXT,
        default=",".join(DEFAULT_FORWARDED_ALLOW_IPS),
        metavar="LIST",
        help="Trust X-Forwarded-For, -Proto, -Host and -Prefix from these proxies: addresses and "
        "networks, separated by commas, or * for all.",
    ),
    Option(
        name="files",
        kind=Kind.CHOICE,
        choices=_values(FilesMode),
        help="How clients get remote files: redirected to the origin, streamed through this "
        "server, or streamed and stored in the cache. Files of sources with credentials are never "
        "redirected.  [default: redirect]",
    ),
    Option(
        name="stream-http-resources",
        kind=Kind.FLAG,
        help="Same as --files stream.",
    ),
    Option(
        name="cache-dir",
        kind=Kind.FOLDER,
        metavar="DIR",
        help="Directory of the cache for pages, metadata and files. Several servers may share it."
        "  [default: below the user's cache directory]",
    ),
    Option(name="no-cache", kind=Kind.FLAG, help="Write nothing to disk."),
    Option(
        name="cache-size",
        kind=Kind.SIZE,
        default=DEFAULT_CACHE_SIZE,
        metavar="SIZE",
        help="Maximum size of the cache, such as 10GB or 512MiB. Least recently used entries are "
        "evicted.",
    ),
    Option(
        name="state-dir",
        kind=Kind.FOLDER,
        metavar="DIR",
        help="Directory for what rules must remember: when files were first seen, and parsed "
        "advisories.  [default: below the user's cache directory]",
    ),
    Option(
        name="offline",
        kind=Kind.FLAG,
        help="Serve from the cache only; send no requests to indexes.",
    ),
    Option(
        name="proxy",
        kind=Kind.TEXT,
        metavar="URL",
        secret=True,
        help="HTTP proxy for requests to indexes, except to hosts in NO_PROXY; 'none' connects "
        "directly.  [default: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY]",
    ),
    Option(
        name="ca-file",
        kind=Kind.PATH,
        metavar="PATH",
        help="File of certificate authorities (PEM) to trust in addition to the system's.",
    ),
    Option(
        name="stale-if-error",
        kind=Kind.SECONDS,
        default=int(STALE_IF_ERROR_S),
        metavar="SECONDS",
        help="Maximum age of a page that is served while its index is unavailable.",
    ),
    Option(
        name="stale-while-revalidate",
        kind=Kind.SECONDS,
        default=int(DEFAULT_STALE_WHILE_REVALIDATE_S),
        metavar="SECONDS",
        help="How long a stale page is served while it is revalidated; at most as long as its "
        "index declared it fresh.",
    ),
    Option(
        name="workers",
        kind=Kind.INTEGER,
        least=1,
        most=256,
        default=1,
        metavar="N",
        help="Number of processes that serve requests.",
    ),
    Option(
        name="max-connections",
        kind=Kind.INTEGER,
        least=1,
        metavar="N",
        help="Maximum number of connections per process.  [default: as the limit on open files "
        "allows]",
    ),
    Option(
        name="shutdown-timeout",
        kind=Kind.SECONDS,
        default=int(DEFAULT_SHUTDOWN_TIMEOUT_S),
        metavar="SECONDS",
        help="How long requests in flight may take to finish after a signal to stop.",
    ),
    Option(
        name="small-files",
        kind=Kind.SIZE,
        default=f"{DEFAULT_SMALL_FILE_BYTES // 1000}kB",
        metavar="SIZE",
        help="Serve files up to this size from memory; 0 for none.",
    ),
    Option(
        name="forbidden-means-absent",
        kind=Kind.TEXTS,
        metavar="SOURCE",
        secret=True,
        help="Interpret status 403 from this SOURCE as 'no such project'. Repeatable.",
    ),
    Option(
        name="memory",
        kind=Kind.SIZE,
        default=f"{DEFAULT_MEMORY_BYTES // 1000**2}MB",
        metavar="SIZE",
        help="Memory per process for cached pages, metadata and small files, such as 256MB.",
    ),
    Option(
        name="log-format",
        kind=Kind.CHOICE,
        choices=_values(LogFormat),
        default=LogFormat.TEXT.value,
        help="Log format.",
    ),
    Option(
        name="log-level",
        kind=Kind.CHOICE,
        choices=_values(LogLevel),
        default=LogLevel.INFO.value,
        help="Lowest level that is logged (to stderr). Requests are logged at 'info'.",
    ),
    Option(
        name="debug-headers",
        kind=Kind.FLAG,
        help="Send a Cache-Status header (RFC 9211): what the cache decided for each answer.",
    ),
)
