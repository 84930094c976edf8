"""How many files and connections a process may have open."""

import resource

_MIN_CONNECTIONS = 16
_MAX_CONNECTIONS = 100_000
_MIN_RESERVE = 64
#: Linux' own default bound (`fs.nr_open`), where the limit is none.
_UNLIMITED = 1_048_576


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open files to the hard one; the limit that holds from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        hard = soft  # a sandbox may forbid it
    return _UNLIMITED if hard == resource.RLIM_INFINITY else hard


def default_max_connections(descriptors: int) -> int:
    """How many connections a process with so many descriptors can accept.

    An eighth of them, 64 at least, is left for files, the cache and upstream connections; a file
    that is sent takes one more descriptor than its connection, for a moment.
    """
    free = descriptors - max(_MIN_RESERVE, descriptors // 8)
    return max(_MIN_CONNECTIONS, min(free, _MAX_CONNECTIONS))
