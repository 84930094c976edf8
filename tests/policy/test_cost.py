"""What judging costs: it grows as the page does, and not with what is denied elsewhere."""

from datetime import date, timedelta

from simple_repository_server.policy.age import MinimumAgeRule
from simple_repository_server.policy.allow import AllowRule
from simple_repository_server.policy.deny import DenyRule
from simple_repository_server.policy.file_kind_rule import FileKindRule
from simple_repository_server.policy.file_kinds import FileKind
from simple_repository_server.policy.freeze import FreezeRule
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.pre_releases import PreReleaseRule
from simple_repository_server.policy.rule import Rule
from simple_repository_server.policy.scope import Scope
from simple_repository_server.policy.yank_overlay import YankOverlay
from simple_repository_server.policy.yanked import YankedRule
from tests.properties.cost import growth

from .views import DAY, NOW, NOW_TIME, file, view_of


def _judge_all(view: PageView, rules: list[Rule]) -> None:
    for rule in rules:
        rule.judge(view, NOW, None)


def test_judging_grows_with_the_page() -> None:
    """Four times the files take four times as long, also if each is of a version of its own."""
    rules: list[Rule] = [
        MinimumAgeRule(7 * DAY, scope=Scope(except_=["foo==1.5"])),
        MinimumAgeRule(1e6 * DAY),
        FreezeRule(date(2020, 1, 1)),
        DenyRule(["foo<1.5", "foo==1.7"]),
        AllowRule(["foo>0.5"]),
        FileKindRule(FileKind.WHEEL),
        FileKindRule(FileKind.SDIST, scope=Scope(kinds=["wheel"], platforms=["win*"])),
        PreReleaseRule(),
        YankedRule(),
        YankOverlay(["foo<1.5"]),
    ]
    names = [f"foo-1.{number}-py3-none-any.whl" for number in range(4_400)]
    files = [file(name, NOW_TIME - timedelta(hours=at)) for at, name in enumerate(names)]
    assert growth(lambda size: _judge_all(view_of(*files[:size]), rules), 1_100) < 8
