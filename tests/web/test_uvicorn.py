"""Uvicorn has what the protocol was built on: a newer one that has not fails here, and says why."""

import ast
import inspect
import tomllib
from pathlib import Path

import pytest
import uvicorn
from packaging.requirements import Requirement
from packaging.version import Version

from tests.web.uvicorn_parts import (
    ATTRIBUTES,
    BY_THE_PARSER,
    FOLDERS,
    METHODS,
    changed,
    names_of,
    places,
    source_files,
    uses,
)

_TABLE = {
    (owner, name)
    for part in (METHODS, ATTRIBUTES)
    for owner, names in part.items()
    for name in names
}


def test_the_installed_version_is_in_the_pinned_range() -> None:
    """What runs is a version that was looked at, and the next one is not taken unseen."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    pinned = next(
        requirement
        for requirement in map(Requirement, project["dependencies"])
        if requirement.name == "uvicorn"
    )
    version = Version(uvicorn.__version__)
    assert version in pinned.specifier, f"Uvicorn {version} is not in the range {pinned}"
    following = f"{version.major}.{version.minor + 1}.0"
    assert following not in pinned.specifier, f"{pinned} lets Uvicorn {following} in unseen"


@pytest.mark.parametrize(
    ("owner", "name", "expected"),
    [(owner, *method) for owner, methods in METHODS.items() for method in methods.items()],
)
def test_methods_are_there_with_their_parameters(owner: type, name: str, expected: str) -> None:
    """Each method that is called or overridden exists and takes what it took."""
    method = getattr(owner, name, None)
    assert method is not None, changed(f"there is no {owner.__name__}.{name}", owner, name)
    _, *parameters = inspect.signature(method).parameters.values()
    found = ", ".join(str(one.replace(annotation=one.empty)) for one in parameters)
    what = f"{owner.__name__}.{name} takes ({found}), not ({expected})"
    assert found == expected, changed(what, owner, name)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, names in ATTRIBUTES.items() for name in sorted(names)],
)
def test_attributes_are_there(owner: type, name: str) -> None:
    """Each attribute that is read or set is one of Uvicorn's."""
    assert name in names_of(owner), changed(f"no {owner.__name__}.{name} is set", owner, name)


def test_the_table_names_all_that_is_used() -> None:
    """The code uses of Uvicorn what the table names, and hides nothing of it by an own name."""
    used = {(use.owner, use.name) for use in uses()}
    for owner, name in used - _TABLE:
        text = f"{owner.__name__}.{name}, in {places(owner, name)}"
        pytest.fail(f"The table does not name {text}: it is used, or hidden by an own name.")
    left = {f"{owner.__name__}.{name}" for owner, name in _TABLE - used - BY_THE_PARSER}
    assert not left, f"The table names {left}, which nothing uses."


def test_nothing_else_imports_uvicorn() -> None:
    """Whoever imports Uvicorn lies where the table looks."""
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text())):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            if any(module.partition(".")[0] == "uvicorn" for module in modules):
                assert any(folder in path.parents for folder in FOLDERS), path


def test_the_configuration_takes_what_it_is_given() -> None:
    """Uvicorn's configuration has the settings that the command makes."""
    known = inspect.signature(uvicorn.Config).parameters
    given = {
        keyword.arg
        for path in source_files(*FOLDERS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "uvicorn.Config"
        for keyword in node.keywords
    }
    assert given
    assert given <= known.keys(), f"Config takes no {given - known.keys()}: cli/uvicorn_server.py"
