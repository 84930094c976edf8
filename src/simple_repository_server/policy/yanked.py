"""Yanked files hidden."""

from typing import Any

from typing_extensions import override

from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import Hidden, Outcome
from simple_repository_server.policy.scoped_rule import ScopedRule


class YankedRule(ScopedRule):
    """Hides yanked files (PEP 592), by their source or by a yank overlay.

    Installers would still install them for a requirement with `==`.
    """

    def __init__(self, *, label: str = "yanked = hide", **common: Any) -> None:
        super().__init__(label=label or "yanked = hide", **common)

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        whys: dict[bool | str, Hidden] = {}
        hidden: dict[int, Hidden] = {}
        for at in self.in_scope(view):
            yanked = view.files[at].yanked
            if not yanked:
                continue
            why = whys.get(yanked)
            if why is None:
                fact = f"it is yanked ({yanked})" if isinstance(yanked, str) else "it is yanked"
                why = whys[yanked] = self.hidden(fact)
            hidden[at] = why
        return Outcome(hidden=hidden)
