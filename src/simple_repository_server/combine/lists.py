"""The list of several repositories: the union, in which a failing one costs only its own names."""

import asyncio
from collections.abc import Sequence

from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.model import ProjectList, RequestContext, WeakestFreshness
from simple_repository_server.names import sorted_unique
from simple_repository_server.repository import Repository

_AT_ONCE = 5_000


class UnionOfLists:
    """Answers with the same list again as long as none of the lists it is made of changes."""

    def __init__(self, sources: Sequence[Repository]) -> None:
        self._sources = sources
        self._made_of: tuple[ProjectList | str, ...] = ()
        self._union = ProjectList(names=())
        self._lock = asyncio.Lock()

    async def get(self, context: RequestContext) -> ProjectList:
        """The union now. Raises the first failure if no source answers at all."""
        answers = await asyncio.gather(
            *(source.get_project_list(context=context) for source in self._sources),
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
        if len(parts) == 1 and isinstance(parts[0], ProjectList):
            return parts[0]
        async with self._lock:
            if not _same(self._made_of, parts):
                self._union = await _union(parts)
                self._made_of = tuple(parts)
        return self._union


def _same(one: Sequence[ProjectList | str], other: Sequence[ProjectList | str]) -> bool:
    return len(one) == len(other) and all(
        a is b or (isinstance(a, str) and a == b) for a, b in zip(one, other, strict=True)
    )


async def _union(parts: Sequence[ProjectList | str]) -> ProjectList:
    lists = [part for part in parts if isinstance(part, ProjectList)]
    names = (name for part in lists for name in part.names)
    if sum(len(part.names) for part in lists) > _AT_ONCE:
        union = await asyncio.to_thread(sorted_unique, names)
    else:
        union = sorted_unique(names)
    failures = tuple(part for part in parts if isinstance(part, str))
    return ProjectList(
        names=union,
        incomplete=failures + tuple(text for part in lists for text in part.incomplete),
        freshness=WeakestFreshness(part.freshness for part in lists),
    )
