"""The list of several repositories: the union, in which a failing one costs only its own names."""

import asyncio
from collections.abc import Sequence
from functools import partial
from weakref import ref

from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import SourceTimeout, SourceUnavailable
from simple_repository_server.model import ProjectList, RequestContext, WeakestFreshness
from simple_repository_server.names import merge_sorted
from simple_repository_server.observe.events import Emit, ListComplete, ListIncomplete, ignore
from simple_repository_server.repository import Repository

_AT_ONCE = 5_000
#: How long a list is waited for. That of a public index takes longer when it is fetched first.
WAIT_S = 3.0
#: Enough for twice the names of PyPI.
DEFAULT_LIST_BYTES = 32 * 1024 * 1024


class UnionOfLists:
    """Answers with the same list again as long as none of the lists it is made of changes.

    Nobody waits longer than `WAIT_S` for one source: until its list is there, which goes on
    being fetched, the union is incomplete. That is told once, and once more when it is whole. One
    that takes more than `memory_bytes` is made anew for each who asks.
    """

    def __init__(
        self,
        sources: Sequence[Repository],
        *,
        memory_bytes: int = DEFAULT_LIST_BYTES,
        emit: Emit = ignore,
    ) -> None:
        self._sources = sources
        self._memory_bytes = memory_bytes
        self._emit = emit
        #: Which of the sources was missing in the last answer, and has not answered since.
        self._missing: set[int] = set()
        self._flight: SingleFlight[tuple[int, bool], ProjectList] = SingleFlight()
        #: The lists the union was made of, which are kept by their sources, and the failures.
        self._made_of: tuple[ref[ProjectList] | str, ...] = ()
        self._union: ProjectList | None = None
        self._lock = asyncio.Lock()

    async def get(self, context: RequestContext) -> ProjectList:
        """The union now. Raises the first failure if no source answers at all."""
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
        self._tell(parts)
        if len(parts) == 1 and isinstance(parts[0], ProjectList):
            return parts[0]
        async with self._lock:
            if self._union is not None and _same(self._made_of, parts):
                return self._union
            self._union = None
            union = await _union(parts)
            if union.weight <= self._memory_bytes:
                self._union = union
                self._made_of = tuple(p if isinstance(p, str) else ref(p) for p in parts)
        return union

    def peek(self, context: RequestContext) -> ProjectList | None:
        """The union, if all lists are at hand and it was made of just these."""
        parts: list[ProjectList] = []
        for source in self._sources:
            part = source.peek_project_list(context=context)
            if part is None:
                return None
            parts.append(part)
        if len(parts) == 1:
            return parts[0]
        return self._union if _same(self._made_of, parts) else None

    async def close(self) -> None:
        """Wait for no list any more."""
        await self._flight.cancel_all()

    async def _of(self, number: int, context: RequestContext) -> ProjectList:
        """The list of one source, if it is there in time; else it is there for the next one."""
        source = self._sources[number]
        work = partial(self._fetch, number, context)
        try:
            async with asyncio.timeout(WAIT_S):
                return await self._flight.run((number, context.revalidate), work)
        except TimeoutError as error:
            label = ", ".join(state.label for state in source.source_states())
            raise SourceTimeout(label, "its list is still being fetched; ask again soon") from error

    async def _fetch(self, number: int, context: RequestContext) -> ProjectList:
        """The list of one source, whoever may still wait for it."""
        found = await self._sources[number].get_project_list(context=context)
        if number in self._missing:
            self._missing.discard(number)
            if not self._missing:
                self._emit(ListComplete())
        return found

    def _tell(self, parts: Sequence[ProjectList | str]) -> None:
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
    names = [part.names for part in lists]
    if sum(map(len, names)) > _AT_ONCE:
        union = await asyncio.to_thread(merge_sorted, names)
    else:
        union = merge_sorted(names)
    failures = tuple(part for part in parts if isinstance(part, str))
    return ProjectList(
        names=union,
        incomplete=failures + tuple(text for part in lists for text in part.incomplete),
        freshness=WeakestFreshness(part.freshness for part in lists),
    )
