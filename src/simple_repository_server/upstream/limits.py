"""What an upstream may cost."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an upstream may cost: in seconds, bytes and numbers."""

    connect_s: float = 5.0
    #: The longest silence while an answer arrives.
    idle_s: float = 30.0
    #: A whole page, retries included.
    page_s: float = 60.0
    #: A whole file, and in addition the time its bytes take at the slowest rate that is waited for.
    file_s: float = 3600.0
    slowest_file_bytes_per_s: int = 100_000
    #: A page, and the list of all projects, after decoding. A public index's list has about 40 MB.
    page_bytes: int = 64 * 1024 * 1024
    list_bytes: int = 256 * 1024 * 1024
    redirects: int = 10
    #: For pages and what is as short; and for files, which are read at the pace of clients.
    connections: int = 100
    file_connections: int = 100
    #: How long a request waits for one of them.
    pool_wait_s: float = 5.0
    attempts: int = 3
    backoff_s: float = 0.2
    #: An origin is not asked any more after so many requests in a row without any answer, or
    #: different addresses with a status of 5xx.
    failures: int = 3
    #: How long until it is probed then: doubled each time that fails, up to the longest.
    probe_first_s: float = 1.0
    probe_longest_s: float = 30.0

    def seconds_for_file(self, size: int | None) -> float:
        """How long a file of so many bytes may take."""
        return self.file_s + (size or 0) / self.slowest_file_bytes_per_s
