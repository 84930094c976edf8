"""Which files a rule is about."""

from typing import Any

import pytest

from simple_repository_server.model import File, ProjectPage
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.scope import Scope

WHEEL = "demo-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"


def file(filename: str, size: int | None = None) -> File:
    """A file of which only name and size matter."""
    return File(filename=FileName(filename), url="", hashes={}, size=size)


@pytest.mark.parametrize(
    ("options", "filename", "size", "expected"),
    [
        ({}, WHEEL, None, True),
        ({"projects": ["demo"]}, WHEEL, None, True),
        ({"projects": ["demo<1"]}, WHEEL, None, False),
        ({"projects": []}, WHEEL, None, False),
        ({"except_": ["demo==1.0"]}, WHEEL, None, False),
        ({"except_": ["demo==2.0"]}, WHEEL, None, True),
        ({"kinds": ["wheel"]}, WHEEL, None, True),
        ({"kinds": ["sdist", "egg"]}, WHEEL, None, False),
        ({"kinds": ["sdist"]}, "demo-1.0.tar.gz", None, True),
        ({"kinds": ["egg"]}, "demo-1.0-py3.8.egg", None, True),
        ({"kinds": ["sdist", "wheel", "egg"]}, "demo-1.0.win32.exe", None, False),
        ({"larger_than": 10}, WHEEL, 10, False),
        ({"larger_than": 10}, WHEEL, 11, True),
        ({"larger_than": 10}, WHEEL, None, True),
        ({"smaller_than": 10}, WHEEL, 9, True),
        ({"smaller_than": 10}, WHEEL, 10, False),
        ({"platforms": ["manylinux2014_*"]}, WHEEL, None, True),
        ({"platforms": ["ManyLinux2014_*"]}, WHEEL, None, True),
        ({"platforms": ["win*", "macosx_*"]}, WHEEL, None, False),
        ({"platforms": ["any"]}, "demo-1.0-py3-none-any.whl", None, True),
        ({"platforms": ["any"]}, "demo-1.0.tar.gz", None, True),
        ({"platforms": ["win*"]}, "demo-1.0-1-cp312-cp312-win_amd64.whl", None, True),
        ({"platforms": ["win*"]}, "demo-1.0-cp312-cp312-win_amd64-x8664v3.whl", None, True),
        ({"platforms": ["linux_x86_64"]}, "demo-1.0-py3.8-linux-x86_64.egg", None, True),
        ({"platforms": []}, WHEEL, None, False),
        ({"kinds": ["wheel"], "platforms": ["win*"]}, WHEEL, None, False),
    ],
)
def test_a_file_is_in_scope_if_all_conditions_hold(
    options: dict[str, Any], filename: str, size: int | None, expected: bool
) -> None:
    """Projects, exceptions, kinds, sizes and platform tags each limit a rule."""
    scope, one = Scope(**options), file(filename, size)
    assert scope.covers("demo", "1.0", one) is expected
    view = PageView(ProjectPage(name=ProjectName("demo"), files=(one,)))
    assert list(scope.positions(view)) == ([0] if expected else [])


def test_a_project_is_covered_if_a_file_of_it_may_be() -> None:
    """A rule is not evaluated for projects it cannot be about."""
    scope = Scope(projects=["corp-*", "demo<2"], except_=["corp-x", "corp-y==1"])
    names = ("corp-a", "corp-x", "corp-y", "demo", "other")
    assert [scope.covers_project(name) for name in names] == [True, False, True, True, False]
    assert [scope.covers_whole_project(name) for name in names] == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert not Scope(larger_than=1).covers_whole_project("demo")


@pytest.mark.parametrize("options", [{"projects": [""]}, {"except_": ["a b"]}, {"kinds": ["exe"]}])
def test_an_invalid_scope_is_refused(options: dict[str, Any]) -> None:
    """A mistake in a scope is found when it is made, not when a page is requested."""
    with pytest.raises(ValueError):
        Scope(**options)
