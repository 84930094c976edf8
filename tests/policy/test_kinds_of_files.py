"""Rules about wheels and sdists, pre-releases, and yanked files."""

import pytest

from simple_repository_server.policy.deny import DenyRule
from simple_repository_server.policy.file_kind_rule import FileKindRule
from simple_repository_server.policy.file_kinds import FileKind
from simple_repository_server.policy.pre_releases import PreReleaseRule
from simple_repository_server.policy.scope import Scope
from simple_repository_server.policy.yanked import YankedRule

from .views import file, sentence_of, shown_by, view_of

WHEELS = ["foo-1.0-py3-none-any.whl", "foo-1.0-variants.json"]
SDISTS = ["foo-1.0.tar.gz", "foo-1.0.zip", "foo-1.0.tar.bz2"]
OTHERS = ["foo-1.0-py3.7.egg", "foo-1.0.win32-py2.7.exe", "foo-1.0-1.noarch.rpm", "foo"]


@pytest.mark.parametrize(("only", "shown"), [(FileKind.WHEEL, WHEELS), (FileKind.SDIST, SDISTS)])
async def test_only_one_kind(only: FileKind, shown: list[str]) -> None:
    """All other formats are hidden; the index of a version's variants goes with its wheels."""
    view = view_of(*WHEELS, *SDISTS, *OTHERS)
    assert await shown_by(FileKindRule(only), view) == shown
    assert await sentence_of(FileKindRule(only), view, 5) == (
        f"hidden by the rule only = {only}s: only {only}s are shown"
    )


@pytest.mark.parametrize(
    ("version", "is_shown"),
    [
        ("1.0", True),
        ("1.0.post1", True),
        ("1.0+local", True),
        ("1!1.0", True),
        ("1.0a1", False),
        ("1.0b2", False),
        ("1.0rc3", False),
        ("1.0c1", False),
        ("1.0-beta.1", False),
        ("1.0.dev4", False),
        ("1.0rc1.post2", False),
        ("1.0rc1+local", False),
        ("2!1.0.post1.dev2", False),
        ("2004d-final", False),
    ],
)
async def test_pre_releases(version: str, is_shown: bool) -> None:
    """PEP 440 says what is one; what is no version may be one."""
    names = [f"foo-{version}.tar.gz"]
    assert await shown_by(PreReleaseRule(), view_of(*names)) == (names if is_shown else [])


async def test_project_that_has_only_pre_releases() -> None:
    """They are hidden there, too, unless the scope exempts the project."""
    view = view_of("foo-1.0a1.tar.gz", "foo-1.0b1.tar.gz")
    assert await shown_by(PreReleaseRule(), view) == []
    exempt = Scope(except_=["foo"])
    assert len(await shown_by(PreReleaseRule(scope=exempt), view)) == 2
    assert await sentence_of(PreReleaseRule(), view) == (
        "hidden by the rule pre-releases = hide: 1.0a1 is a pre-release"
    )


async def test_yanked_files() -> None:
    """Those with and without a reason are hidden, and the sentence has the reason."""
    view = view_of(
        file("foo-1.tar.gz"),
        file("foo-2.tar.gz", yanked=True),
        file("foo-3.tar.gz", yanked="broken\nbuild"),
    )
    assert await shown_by(YankedRule(), view) == ["foo-1.tar.gz"]
    start = "hidden by the rule yanked = hide: it is yanked"
    assert await sentence_of(YankedRule(), view, 1) == start
    assert await sentence_of(YankedRule(), view, 2) == f"{start} (broken build)"


async def test_scope_limits_rules() -> None:
    """Each rule leaves what its scope exempts."""
    scope = Scope(except_=["foo==1.0"])
    view = view_of(file("foo-1.0.tar.gz", yanked=True), file("foo-1.1.tar.gz", yanked=True))
    for rule in (YankedRule(scope=scope), FileKindRule(FileKind.WHEEL, scope=scope)):
        assert await shown_by(rule, view) == ["foo-1.0.tar.gz"]


async def test_a_scope_has_the_same_kinds() -> None:
    """What a rule about wheels hides includes the index of their variants."""
    rule = DenyRule(["foo"], scope=Scope(kinds=["wheel"]))
    assert await shown_by(rule, view_of(*WHEELS, "foo-1.0.tar.gz")) == ["foo-1.0.tar.gz"]
