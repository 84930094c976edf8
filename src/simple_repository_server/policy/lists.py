"""Lists without the projects that are hidden by their names, computed once per list."""

import asyncio
from collections.abc import Callable
from functools import partial
from operator import eq

import msgspec

from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.cache.snapshots import DerivedSnapshots
from simple_repository_server.model import ProjectList
from simple_repository_server.names import ProjectName, merge_sorted

#: Lists of more names than this are filtered in a thread.
_FILTER_HERE_NAMES = 2_000


class VisibleNames:
    """What is left of lists: the projects for which `is_visible` is true.

    `revision` is that of the rules: when it changes, lists are filtered anew. If the same names are
    left, the same list is returned. `is_withheld` says of the others which ones nobody else's
    project may be listed for.
    """

    def __init__(
        self,
        is_visible: Callable[[ProjectName], bool],
        is_withheld: Callable[[ProjectName], bool] | None = None,
    ) -> None:
        self._is_visible = is_visible
        self._is_withheld = is_withheld
        self._filtered: DerivedSnapshots[ProjectList, int] = DerivedSnapshots()
        self._filtering: SingleFlight[tuple[int, int], ProjectList] = SingleFlight()

    def peek(self, projects: ProjectList, revision: int = 0) -> ProjectList | None:
        """The filtered list, or None if it was not computed yet."""
        known = self._filtered.get(projects)
        return None if known is None or known.details != revision else known.of(projects)

    async def of(self, projects: ProjectList, revision: int = 0) -> ProjectList:
        """The filtered list; the very list if nothing is hidden."""
        known = self.peek(projects, revision)
        if known is not None:
            return known
        if len(projects.names) <= _FILTER_HERE_NAMES:
            filtered = self._filter(projects)
        else:
            work = partial(asyncio.to_thread, self._filter, projects)
            filtered = await self._filtering.run((id(projects), revision), work)
        earlier = self._filtered.get(projects)
        if earlier is not None and _same_names(earlier.of(projects), filtered):
            filtered = earlier.of(projects)
        self._filtered.put(projects, filtered, revision)
        return filtered

    async def close(self) -> None:
        """Cancel what is in flight."""
        await self._filtering.cancel_all()

    def _filter(self, projects: ProjectList) -> ProjectList:
        visible = projects.only(self._is_visible)
        if visible is projects or self._is_withheld is None:
            return visible
        withheld = filter(self._is_withheld, projects.names)
        return msgspec.structs.replace(visible, withheld=merge_sorted([visible.withheld, withheld]))


def _same_names(one: ProjectList, other: ProjectList) -> bool:
    return all(
        len(some) == len(others) and all(map(eq, some, others))
        for some, others in ((one.names, other.names), (one.withheld, other.withheld))
    )
