"""What the rules about upload times share: the time of each file, and files without one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
from typing_extensions import override

from simple_repository_server.errors import RuleUnavailable
from simple_repository_server.model import SourceState
from simple_repository_server.policy.first_seen import FirstSeen, FirstSeenError, digest_of
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import Hidden
from simple_repository_server.policy.scoped_rule import ScopedRule
from simple_repository_server.policy.undated import Undated


class DatedFiles(msgspec.Struct, gc=False):
    """The files in scope: those with a time, and those that are hidden for want of one."""

    #: Positions, with the time and the verb for it: `uploaded` or `first seen here`.
    times: list[tuple[int, float, str]] = []
    hidden: dict[int, Hidden] = {}
    #: How many files have no upload time.
    undated: int = 0


class DatedRule(ScopedRule):
    """A rule that judges each file by its upload time. Abstract: subclasses judge.

    `undated` is what happens to files without one: they are hidden (`refuse`), shown (`allow`), or
    count as uploaded when this server first saw their digest (`first-seen`, which needs
    `first_seen`). Those without a SHA-2 digest are hidden then, too. `Outcome.undated` counts them.
    """

    def __init__(
        self,
        *,
        undated: Undated = Undated.REFUSE,
        first_seen: FirstSeen | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if undated is Undated.FIRST_SEEN and first_seen is None:
            raise ValueError("undated = first-seen needs a database of first-seen times")
        self.undated = undated
        self._first_seen = first_seen if undated is Undated.FIRST_SEEN else None
        self._without_time = self.hidden("its upload time is unknown")
        self._without_digest = self.hidden("its upload time and SHA-256 digest are unknown")

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if self._first_seen is not None:
                await stack.enter_async_context(self._first_seen)
            yield

    @override
    async def facts(self, view: PageView) -> object:
        """When the files without an upload time were first seen, by digest."""
        if self._first_seen is None:
            return None
        times = view.upload_times
        undated = (view.files[at] for at in self.in_scope(view) if times[at] is None)
        digests = {digest for file in undated if (digest := digest_of(file)) is not None}
        try:
            return await self._first_seen.times(digests)
        except FirstSeenError as error:
            raise RuleUnavailable(self.label, str(error)) from error

    @override
    def states(self) -> tuple[SourceState, ...]:
        if self._first_seen is None:
            return ()
        problem = self._first_seen.problem
        state = SourceState(label=self.label, kind="rule", available=not problem, detail=problem)
        return (state,)

    def dated(self, view: PageView, facts: Any) -> DatedFiles:
        """The files in scope with their times; `facts` are those of `facts`."""
        result = DatedFiles()
        times = view.upload_times
        for at in self.in_scope(view):
            time = times[at]
            if time is not None:
                result.times.append((at, time, "uploaded"))
                continue
            result.undated += 1
            if self.undated is Undated.REFUSE:
                result.hidden[at] = self._without_time
            elif self.undated is Undated.FIRST_SEEN:
                seen = facts.get(digest_of(view.files[at]))
                if seen is None:
                    result.hidden[at] = self._without_digest
                else:
                    result.times.append((at, seen, "first seen here"))
        return result
