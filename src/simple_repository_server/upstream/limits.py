"""Limits on what an upstream may cost."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits for requests to one index: seconds, bytes and counts."""

    connect_s: float = 5.0
    #: The longest silence while an answer arrives.
    idle_s: float = 30.0
    #: For a whole page, including retries.
    page_s: float = 60.0
    #: For a whole file; added to it is the time its bytes take at the slowest accepted rate.
    file_s: float = 3600.0
    slowest_file_bytes_per_s: int = 100_000
    #: For a page, after decoding.
    page_bytes: int = 64 * 1024 * 1024
    #: For the list of projects, after decoding; that of a public index has about 40 MB.
    list_bytes: int = 256 * 1024 * 1024
    redirects: int = 10
    #: For pages and for files as short as a page.
    connections: int = 100
    #: For files, which are read at the pace of clients.
    file_connections: int = 100
    #: How long a request waits for a free connection.
    pool_wait_s: float = 5.0
    #: Of one request, including the first.
    attempts: int = 3
    #: Before the second attempt; doubled before each further one, with jitter.
    backoff_s: float = 0.2
    #: The circuit of an origin opens after this many attempts in a row without an answer (an
    #: address that breaks off counts as one), or this many addresses that answer 5xx or break off.
    failures: int = 3
    #: From opening to the first probe; doubled after each failed probe.
    probe_first_s: float = 1.0
    #: The longest interval between probes.
    probe_longest_s: float = 30.0

    def seconds_for_file(self, size: int | None) -> float:
        """The time limit for a file of that many bytes."""
        return self.file_s + (size or 0) / self.slowest_file_bytes_per_s
