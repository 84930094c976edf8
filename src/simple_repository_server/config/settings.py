"""What the user wants, as typed and immutable values: can be passed to worker processes."""

from pathlib import Path

import msgspec
from typing_extensions import override

DEFAULT_MEMORY_BYTES = 256 * 1024 * 1024


class DirectorySource(msgspec.Struct, frozen=True, kw_only=True):
    """A local directory."""

    path: Path


class IndexSource(msgspec.Struct, frozen=True, kw_only=True):
    """A remote index. Its address is without credentials."""

    url: str
    user: str | None = None
    password: str | None = None
    #: Read status 403 as "no such project".
    forbidden_means_absent: bool = False

    @override
    def __repr__(self) -> str:
        """Without the credentials."""
        return f"IndexSource(url={self.url!r})"


Source = DirectorySource | IndexSource


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the command was asked for."""

    sources: tuple[Source, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    #: Send remote files through this server.
    stream: bool = False
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    log_format: str = "text"
    log_level: str = "info"
    #: Where digests of local files are kept; None: nowhere.
    digests: Path | None = None
