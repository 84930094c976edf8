"""How many files and connections a process may have open at once."""

import resource

_MIN_CONNECTIONS = 16
_MAX_CONNECTIONS = 100_000
_MIN_RESERVE = 64
#: Linux' default for `fs.nr_open`, which holds where there is no limit.
_UNLIMITED = 1_048_576


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open files to the hard one; returns the limit from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        hard = soft  # a sandbox may forbid it
    return _UNLIMITED if hard == resource.RLIM_INFINITY else hard


def default_max_connections(descriptors: int) -> int:
    """How many connections a process with that many descriptors can accept.

    An eighth of them, at least 64, is reserved for files, the cache and upstream connections; while
    a file is sent it takes one descriptor beside that of its connection.
    """
    free = descriptors - max(_MIN_RESERVE, descriptors // 8)
    return max(_MIN_CONNECTIONS, min(free, _MAX_CONNECTIONS))
