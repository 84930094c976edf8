"""Patterns of projects and versions."""

import time

import pytest
from packaging.version import Version

from simple_repository_server.policy.patterns import Patterns


@pytest.mark.parametrize(
    ("pattern", "name", "version", "expected"),
    [
        ("demo", "demo", "1.0", True),
        ("demo", "demo", None, True),
        ("demo", "demo-two", "1.0", False),
        ("De_mo..X", "de-mo-x", "1.0", True),
        ("Corp_*", "corp-tool", None, True),
        ("corp-*", "corp", None, False),
        ("*-internal", "a-internal", None, True),
        ("*-internal", "a-internals", None, False),
        ("*mid*", "a-mid-b", None, True),
        ("d?mo", "demo", None, True),
        ("d?mo", "dmo", None, False),
        ("*", "anything", None, True),
        ("?", "a", None, True),
        ("?", "ab", None, False),
        ("a*a*b", "a-a-b", None, True),
        ("demo<2.32", "demo", "2.31", True),
        ("demo<2.32", "demo", "2.32", False),
        ("demo >= 2, < 3", "demo", "2.5", True),
        ("demo>=2", "demo", "3.0b1", True),
        ("demo==2.6.1", "demo", "2.6.1", True),
        ("demo==2.6.1", "demo", "2.6.1.0", True),
        ("demo==2.6.1", "demo", "2.6.1+cu128", True),
        ("demo==2.6.1+cu1", "demo", "2.6.1", False),
        ("demo==2.6.1+cu1", "demo", "2.6.1+cu1", True),
        ("demo==2.6.*", "demo", "2.6.7", True),
        ("demo!=1", "demo", "1.0", False),
        ("demo~=1.4", "demo", "1.9", True),
        ("corp-*<2", "corp-x", "1.0", True),
        ("corp-*<2", "corp-x", "2.0", False),
        ("demo<2", "demo", None, False),
        ("demo<2", "demo", "no version", False),
    ],
)
def test_a_pattern_matches_projects_and_versions(
    pattern: str, name: str, version: str | None, expected: bool
) -> None:
    """A glob is about normalised names, a specifier about versions, pre-releases included."""
    assert Patterns([pattern]).matches(name, version) is expected


def test_a_pattern_with_a_specifier_matches_the_project_but_not_all_of_it() -> None:
    """Whether a project is matched at all, and as a whole, are two questions."""
    patterns = Patterns(["demo<2", "whole", "corp-*==1"])
    assert [patterns.matches_project(name) for name in ("demo", "whole", "corp-x", "other")] == [
        True,
        True,
        True,
        False,
    ]
    assert [patterns.whole(name) for name in ("demo", "whole", "corp-x", "other")] == [
        False,
        True,
        False,
        False,
    ]


def test_patterns_of_one_project_add_up() -> None:
    """A version is matched if any of the patterns matches it."""
    patterns = Patterns(["demo==1", "dem*==2", "demo>5"])
    found = [patterns.matches("demo", version) for version in ("1.0", "2.0", "3.0", "6.0")]
    assert found == [True, True, False, True]


@pytest.mark.parametrize(
    "text",
    ["", "  ", "<2", "demo<", "demo<two", "de mo", "demo[security]", "-a", "a-", "dämo", "a/b"],
)
def test_an_invalid_pattern_is_named(text: str) -> None:
    """The message names the pattern, so that it can be found in a file."""
    with pytest.raises(ValueError) as caught:
        Patterns(["fine", text])
    assert repr(text) in str(caught.value)


def test_no_patterns_match_nothing() -> None:
    """An empty set of patterns is about no project."""
    patterns = Patterns([])
    assert not patterns.matches_project("demo")
    assert not patterns.matches("demo", "1.0")


@pytest.mark.parametrize("shape", ["evil-{}-*", "*-evil-{}", "*x{}y*", "evil-{}"])
def test_ten_thousand_patterns_take_about_the_time_of_ten(shape: str) -> None:
    """A name is compared with the few globs whose literal part it contains, not with all."""
    names = [f"some-project-{number}" for number in range(500)]

    def cost(count: int) -> float:
        patterns = Patterns([shape.format(f"{number:05}") for number in range(count)])
        started = time.process_time()
        assert not any(map(patterns.matches_project, names))
        return time.process_time() - started

    few = min(cost(10) for _ in range(3))
    assert min(cost(10_000) for _ in range(3)) < few * 5 + 0.01


@pytest.mark.parametrize(
    "texts",
    [
        ["demo==1.0", "demo==2.0+local", "demo<1,!=0.5", "d*~=3.0", "dem?===4.0"],
        ["demo", "demo<1"],
        ["other"],
        ["demo==1.*", "demo>2.0"],
    ],
)
def test_many_versions_at_once_match_as_one_by_one(texts: list[str]) -> None:
    """By identity, pre-releases, local versions and unknown ones included."""
    patterns = Patterns(texts)
    spelt = "0.4 0.5 1.0 1.0.0 1.0+x 1.1a1 2.0 2.0+local 2.0.post1 3.5.dev1 4.0 4.0.0"
    versions = [*map(Version, spelt.split()), None]
    expected = {id(one) for one in versions if patterns.matches("demo", one)}
    assert patterns.among("demo", versions) == expected
