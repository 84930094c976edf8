"""The past states of an index: the same pages, without what was uploaded later."""

from collections import OrderedDict
from datetime import datetime

from simple_repository_server.policy.freeze import FreezeRule
from simple_repository_server.policy.repository import RuleRepository
from simple_repository_server.policy.undated import Undated
from simple_repository_server.repository import Repository

DEFAULT_SIZE = 16


class Snapshots:
    """The index `repository` as it was at past times, each made when it is first requested.

    What was uploaded at that time or later is hidden, by a `FreezeRule` that is evaluated last;
    what was removed or yanked since is not brought back. `undated` says what becomes of files
    without an upload time. The `size` snapshots that were used last stay in memory. They need not
    be entered, but `repository` must be open.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        size: int = DEFAULT_SIZE,
        undated: Undated = Undated.REFUSE,
    ) -> None:
        self._repository = repository
        self._size = size
        self._undated = undated
        self._recent: OrderedDict[datetime, Repository] = OrderedDict()

    def at(self, moment: datetime) -> Repository:
        """The index as it was then; the same object while it is in memory."""
        known = self._recent.get(moment)
        if known is None:
            rule = FreezeRule(
                moment, undated=self._undated, label=f"snapshot of {moment.isoformat()}"
            )
            known = self._recent[moment] = RuleRepository(self._repository, (rule,))
            if len(self._recent) > self._size:
                self._recent.popitem(last=False)
        self._recent.move_to_end(moment)
        return known
