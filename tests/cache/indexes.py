"""An index behind a cache on disk, for tests that restart it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simple_repository_server.cache.policy import CachePolicy
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.upstream import Upstream
from simple_repository_server.upstream.client import Limits

FOO, BAR, BAZ = ProjectName("foo"), ProjectName("bar"), ProjectName("baz")
#: One attempt, and no breaker in the way: what is tested is the cache.
QUICK = Limits(connect_s=0.5, idle_s=1.0, page_s=5.0, attempts=1, backoff_s=0.01, failures=1000)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def index(
    upstream: Upstream,
    folder: Path,
    *,
    clock: Callable[[], float] = time.time,
    user: str = "",
    limits: Limits = QUICK,
    emit: Emit = ignore,
    **policy: Any,
) -> HttpRepository:
    """The index of `upstream` for `user` (`name:password`), with its cache in `folder`."""
    url = upstream.simple.replace("//", f"//{user}@", 1) if user else upstream.simple
    return HttpRepository(
        url,
        limits=limits,
        cache=CacheFolder(folder),
        policy=CachePolicy(**policy),
        clock=clock,
        emit=emit,
    )
