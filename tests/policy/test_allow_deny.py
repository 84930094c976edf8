"""Allowed and denied projects and versions."""

import pytest

from simple_repository_server.names import ProjectName
from simple_repository_server.policy.allow import AllowRule
from simple_repository_server.policy.deny import DenyRule
from simple_repository_server.policy.scope import Scope

from .views import outcome_of, sentence_of, shown_by, view_of

FILES = [
    "foo-1.0.tar.gz",
    "foo-1.0-py3-none-any.whl",
    "foo-2.0rc1.tar.gz",
    "foo-2.0+local.1.tar.gz",
    "foo-1!0.1.tar.gz",
    "foo-1.0.win32-py2.7.exe",
    "foo-latest.tar.gz",
    "unreadable",
]
#: Those without a valid version.
ODD = FILES[6:]


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("foo", FILES),
        ("*", FILES),
        ("f?o", FILES),
        ("bar", []),
        ("foo<2", [FILES[0], FILES[1], FILES[5], *ODD]),
        ("foo<=2.0rc1", [FILES[0], FILES[1], FILES[2], FILES[5], *ODD]),
        ("foo>=2", [FILES[3], FILES[4], *ODD]),
        ("foo==2.0", [FILES[3], *ODD]),
        ("foo==2.0+local.1", [FILES[3], *ODD]),
        ("foo==2.0rc1", [FILES[2], *ODD]),
        ("foo==1.*", [FILES[0], FILES[1], FILES[5], *ODD]),
        ("foo==1!0.1", [FILES[4], *ODD]),
        ("foo==9", ODD),
    ],
)
async def test_deny(pattern: str, matching: list[str]) -> None:
    """What matches is hidden: pre-releases, local versions, epochs and old formats, too.

    Where only some versions are denied, a file of unknown version is hidden.
    """
    left = [name for name in FILES if name not in matching]
    assert await shown_by(DenyRule([pattern]), view_of(*FILES)) == left


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [
        ("foo", FILES),
        ("f*", FILES),
        ("bar", []),
        ("foo<2", [FILES[0], FILES[1], FILES[5]]),
        ("foo==2.0", [FILES[3]]),
        ("foo==1!0.1", [FILES[4]]),
    ],
)
async def test_allow(pattern: str, shown: list[str]) -> None:
    """What matches is shown, all else is hidden, and so is a file of unknown version."""
    assert await shown_by(AllowRule([pattern]), view_of(*FILES)) == shown


@pytest.mark.parametrize("spelling", ["Foo.Bar", "foo_bar", "FOO--bar"])
async def test_names_are_normalised(spelling: str) -> None:
    """A rule concerns a project under each spelling of its name."""
    project = ProjectName(spelling)
    view = view_of("foo_bar-1.0.tar.gz", project=spelling)
    assert await shown_by(DenyRule(["foo-bar"]), view) == []
    assert DenyRule(["foo-bar"]).hides_project(project) is not None
    assert AllowRule(["foo-bar"]).hides_project(project) is None


@pytest.mark.parametrize(
    ("patterns", "scope", "denied", "not_allowed"),
    [
        (["foo"], Scope(), True, False),
        (["foo<2"], Scope(), False, False),
        (["bar"], Scope(), False, True),
        (["foo"], Scope(except_=["foo==1.0"]), False, False),
        (["bar"], Scope(except_=["foo==1.0"]), False, False),
        (["bar"], Scope(except_=["foo"]), False, False),
        (["foo"], Scope(except_=["foo"]), False, False),
    ],
)
def test_projects_hidden_by_their_name(
    patterns: list[str], scope: Scope, denied: bool, not_allowed: bool
) -> None:
    """Only if nothing of the project can be shown."""
    project = ProjectName("foo")
    assert (DenyRule(patterns, scope=scope).hides_project(project) is not None) is denied
    assert (AllowRule(patterns, scope=scope).hides_project(project) is not None) is not_allowed


@pytest.mark.parametrize("rule", [DenyRule(["foo"]), AllowRule(["bar"]), AllowRule([])])
async def test_page_of_hidden_project(rule: DenyRule | AllowRule) -> None:
    """A project that is hidden by its name has no file that is shown."""
    assert rule.hides_project(ProjectName("foo")) is not None
    assert await shown_by(rule, view_of(*FILES)) == []


async def test_exempt_version_of_denied_project() -> None:
    """The scope exempts a version of a project that is denied."""
    rule = DenyRule(["foo"], scope=Scope(except_=["foo==1.0"]))
    assert await shown_by(rule, view_of(*FILES)) == [FILES[0], FILES[1], FILES[5]]


@pytest.mark.parametrize("rule", [DenyRule, AllowRule])
def test_rules_say_what_they_are_about(rule: type[DenyRule]) -> None:
    """They need not be asked about projects of which they hide nothing."""
    foo, bar = ProjectName("foo"), ProjectName("bar")
    assert (rule(["foo"]).applies_to(foo), rule(["foo"]).applies_to(bar)) == (
        (True, False) if rule is DenyRule else (False, True)
    )
    assert rule(["foo>1"]).applies_to(foo)


async def test_sentences() -> None:
    """They name the rule, the version and the operator's reason."""
    view = view_of(*FILES)
    start = "hidden by the rule mine: "
    mine = {"label": "mine", "reason": "see the security board"}
    for rule, position, fact in [
        (DenyRule(["foo"], **mine), 0, "the project is denied"),
        (DenyRule(["foo<2"], **mine), 0, "version 1.0 is denied"),
        (DenyRule(["foo<2"], **mine), 7, "its version is unknown, and some versions are denied"),
        (AllowRule(["bar"], **mine), 0, "the project is not allowed"),
        (AllowRule(["foo>1"], **mine), 0, "version 1.0 is not allowed"),
        (AllowRule(["foo>1"], **mine), 7,
         "its version is unknown, and only some versions are allowed"),
    ]:  # fmt: skip
        assert await sentence_of(rule, view, position) == f"{start}{fact}; see the security board"


@pytest.mark.parametrize("reason", ["a\r\nSet-Cookie: b", "\x1b[31mred", "x" * 5000, "\u202egnp"])
async def test_sentences_are_safe(reason: str) -> None:
    """One line of at most 200 printable characters, from any text of the operator."""
    for rule in (DenyRule(["foo"], reason=reason), DenyRule(["foo"], label=reason)):
        sentence = await sentence_of(rule, view_of(*FILES))
        assert sentence.isprintable()
        assert len(sentence) <= 200
        assert "the project is denied" in sentence


async def test_concealed() -> None:
    """What a concealing rule hides is marked so, for projects and files."""
    rule = DenyRule(["foo"], conceal=True)
    hidden = rule.hides_project(ProjectName("foo"))
    assert hidden is not None
    assert hidden.conceal
    assert (await outcome_of(rule, view_of(*FILES))).hidden[0].conceal
