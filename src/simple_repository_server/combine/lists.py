"""The list of several repositories: their union, without the names of those that fail."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import filterfalse
from typing import Any
from weakref import ref

from simple_repository_server.cache.memory import Memory, MemoryCache, part_of
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import SourceTimeout, SourceUnavailable
from simple_repository_server.freshness import WeakestFreshness
from simple_repository_server.model import ProjectList, RequestContext
from simple_repository_server.names import ProjectName, merge_sorted
from simple_repository_server.observe.events import Emit, ListComplete, ListIncomplete, ignore
from simple_repository_server.repository import Repository

#: The key of the one list in memory.
_UNION = ""
#: Unions of more names than this are computed in a thread.
_UNION_HERE_NAMES = 5_000
#: How long a request waits for the list of one source. That of a public index takes longer.
DEFAULT_WAIT_S = 3.0
#: Enough for twice the names of PyPI.
DEFAULT_LIST_BYTES = 32 * 1024 * 1024


class UnionOfLists:
    """The union of the sources' lists: the same object as long as none of the lists changes.

    No request waits longer than `wait_s` seconds for one source. Fetching its list continues in the
    background; until it arrives, the union is incomplete. `emit` gets one event when it becomes
    incomplete and one when it is complete again. A union larger than `memory_bytes` is not cached;
    several unions may share one budget, given as `memory` instead.
    """

    def __init__(
        self,
        sources: Sequence[Repository],
        *,
        memory_bytes: int = DEFAULT_LIST_BYTES,
        memory: MemoryCache[Any, Any] | None = None,
        wait_s: float = DEFAULT_WAIT_S,
        emit: Emit = ignore,
    ) -> None:
        self._sources = sources
        self._memory: Memory[str, ProjectList] = part_of(memory, memory_bytes)
        self._wait_s = wait_s
        self._emit = emit
        #: The sources that were missing in the last union and have not answered since.
        self._missing: set[int] = set()
        self._flight: SingleFlight[tuple[int, bool], ProjectList] = SingleFlight()
        #: The lists and failures from which the union was computed.
        self._made_of: tuple[ref[ProjectList] | str, ...] = ()
        self._lock = asyncio.Lock()

    async def get(self, context: RequestContext) -> ProjectList:
        """The union now. Raises the first source's `SourceUnavailable` if all sources fail."""
        answers = await asyncio.gather(
            *(self._of(number, context) for number in range(len(self._sources))),
            return_exceptions=True,
        )
        parts: list[ProjectList | str] = []
        failures: list[SourceUnavailable] = []
        for answer in answers:
            if isinstance(answer, ProjectList):
                parts.append(answer)
            elif isinstance(answer, SourceUnavailable):
                parts.append(str(answer))
                failures.append(answer)
            else:
                raise answer
        if failures and len(failures) == len(parts):
            raise failures[0]
        self._report(parts)
        if len(parts) == 1 and isinstance(parts[0], ProjectList):
            return parts[0]
        async with self._lock:
            known = self._memory.get(_UNION)
            if known is not None and _same(self._made_of, parts):
                return known
            self._memory.discard(_UNION)
            union = await _union(parts)
            self._made_of = tuple(p if isinstance(p, str) else ref(p) for p in parts)
            self._memory.put(_UNION, union, union.weight)
        return union

    def peek(self, context: RequestContext) -> ProjectList | None:
        """The cached union, if it was computed from the lists that the sources have now."""
        parts: list[ProjectList] = []
        for source in self._sources:
            part = source.peek_project_list(context=context)
            if part is None:
                return None
            parts.append(part)
        if len(parts) == 1:
            return parts[0]
        return self._memory.get(_UNION) if _same(self._made_of, parts) else None

    async def close(self) -> None:
        """Cancel all requests for lists."""
        await self._flight.cancel_all()

    async def _of(self, number: int, context: RequestContext) -> ProjectList:
        """The list of one source, if it arrives in time. If not, fetching continues."""
        source = self._sources[number]
        work = partial(self._fetch, number, context)
        try:
            async with asyncio.timeout(self._wait_s):
                return await self._flight.run((number, context.revalidate), work)
        except TimeoutError as error:
            label = ", ".join(state.label for state in source.source_states())
            raise SourceTimeout(label, "its list is still being fetched; retry soon") from error

    async def _fetch(self, number: int, context: RequestContext) -> ProjectList:
        """Fetch the list of one source, in the background if the request no longer waits."""
        found = await self._sources[number].get_project_list(context=context)
        if number in self._missing:
            self._missing.discard(number)
            if not self._missing:
                self._emit(ListComplete())
        return found

    def _report(self, parts: Sequence[ProjectList | str]) -> None:
        missing = {number for number, part in enumerate(parts) if isinstance(part, str)}
        if missing - self._missing:
            self._emit(ListIncomplete(missing=tuple(p for p in parts if isinstance(p, str))))
        self._missing |= missing


def _same(one: Sequence[ref[ProjectList] | str], other: Sequence[ProjectList | str]) -> bool:
    return len(one) == len(other) and all(
        a == b if isinstance(a, str) else a() is b for a, b in zip(one, other, strict=True)
    )


async def _union(parts: Sequence[ProjectList | str]) -> ProjectList:
    lists = [part for part in parts if isinstance(part, ProjectList)]
    if sum(len(part.names) for part in lists) > _UNION_HERE_NAMES:
        union = await asyncio.to_thread(_names, lists)
    else:
        union = _names(lists)
    failures = tuple(part for part in parts if isinstance(part, str))
    return ProjectList(
        names=union,
        withheld=merge_sorted([part.withheld for part in lists]),
        incomplete=failures + tuple(text for part in lists for text in part.incomplete),
        freshness=WeakestFreshness(part.freshness for part in lists),
    )


def _names(lists: Sequence[ProjectList]) -> Sequence[ProjectName]:
    """All names but those that an earlier source withholds."""
    withheld: set[ProjectName] = set()
    names: list[Iterable[ProjectName]] = []
    for part in lists:
        names.append(filterfalse(withheld.__contains__, part.names) if withheld else part.names)
        withheld = withheld.union(part.withheld)
    return merge_sorted(names)
