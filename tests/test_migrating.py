"""The guide for users of the `simple-repository` library is complete, and its examples agree."""

import importlib
import inspect
import json
import os
import pkgutil
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from simple_repository import SimpleRepository, components
from simple_repository.components.deny_list import DenyListRepository
from simple_repository.components.local import LocalRepository as LibraryLocalRepository
from simple_repository.components.new_releases_remover import NewReleasesRemover
from simple_repository.components.priority_selected import (
    PrioritySelectedProjectsRepository as LibraryPriority,
)
from simple_repository.errors import ResourceUnavailable
from simple_repository.model import LocalResource

import simple_repository_server
from simple_repository_server import ProjectName, Repository
from simple_repository_server.testing.distributions import build_sdist, build_wheel

pytestmark = pytest.mark.anyio
GUIDE = Path(__file__).parents[1] / "docs" / "migrating.md"
#: Examples of the library, each directly followed by what comes instead.
PAIRS = re.findall(
    r"```py\n((?:(?!```).)*)```(?:(?!```).)*```python\n((?:(?!```).)*)```",
    GUIDE.read_text(),
    re.DOTALL,
)


def _public_components() -> set[str]:
    """The classes that the modules of the library's components define."""
    found = set()
    for module in pkgutil.iter_modules(components.__path__):
        loaded = importlib.import_module(f"{components.__name__}.{module.name}")
        for name, value in inspect.getmembers(loaded, inspect.isclass):
            if value.__module__ == loaded.__name__ and not name.startswith("_"):
                found.add(name)
    return found


def _counterparts() -> dict[str, str]:
    """The first two cells of the table by the names in the first."""
    table = GUIDE.read_text().partition("\n## The counterpart of each component\n")[2]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    return {theirs.strip(" `"): ours for theirs, ours in rows[1:]}


def test_each_component_of_the_library_has_a_counterpart() -> None:
    """The table has exactly the components of the installed release, and names that exist here."""
    counterparts = _counterparts()
    assert set(counterparts) == _public_components()
    for theirs, ours in counterparts.items():
        names = set(re.findall(r"`(\w+)", ours)) - {"overlay"}
        assert names, theirs
        assert names <= set(simple_repository_server.__all__), theirs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the examples name, one of them of today."""
    for folder in ("packages/demo", "packages/other"):
        (tmp_path / folder).mkdir(parents=True)
    long_ago = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    for built, folder in (
        (build_wheel("demo", "1.0"), "packages/demo"),
        (build_sdist("demo", "2.0"), "packages/demo"),
        (build_sdist("other", "1.0"), "packages/other"),
    ):
        path = tmp_path / folder / built.filename
        path.write_bytes(built.content)
        os.utime(path, (long_ago, long_ago))
    new = build_sdist("other", "9.0")
    (tmp_path / "packages" / "other" / new.filename).write_bytes(new.content)
    (tmp_path / "yanked.json").write_text(json.dumps({"demo": ["*.tar.gz", "build it again"]}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@asynccontextmanager
async def _closing(names: dict[str, Any]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if "client" in names:
            await names["client"].aclose()


def test_the_guide_has_a_pair_for_each_topic() -> None:
    """No example is lost when the guide is edited."""
    assert len(PAIRS) == 7


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
async def test_examples_before_and_after_show_the_same(pair: tuple[str, str], place: Path) -> None:
    """What comes instead shows the same files of the project as the example of the library.

    An allowed, a yanked and a new file included.
    """
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    exec(pair[0], before)
    exec(pair[1], after)
    theirs, ours = before["repository"], after["repository"]
    assert isinstance(theirs, SimpleRepository)
    assert isinstance(ours, Repository)
    async with _closing(before), ours:
        then = await theirs.get_project_page("demo")
        page = await ours.get_project_page(ProjectName("demo"))
        shown = {file.filename: file.yanked or None for file in then.files}
        assert {file.filename: file.yanked or None for file in page.files} == shown
        assert page.private == {
            name: value
            for name, value in then.private_metadata.items()
            if name[:12] != "_quarantined"
        }
        for file in page.files:
            await ours.get_resource(page.name, file.filename)


async def test_the_cooldown_of_the_guide_hides_what_the_library_hides(place: Path) -> None:
    """Before and after, a release of today is not on its page; after, it is not served either."""
    (pair,) = [pair for pair in PAIRS if "NewReleasesRemover" in pair[0]]
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    exec(pair[0], before)
    exec(pair[1], after)
    then = await before["repository"].get_project_page("other")
    async with after["repository"] as repository:
        page = await repository.get_project_page(ProjectName("other"))
        assert [file.filename for file in page.files] == [file.filename for file in then.files]
        assert len(page.files) == 1


async def test_the_time_filter_of_the_library_serves_what_it_hides(place: Path) -> None:
    """As the guide says: a hidden file is not on the page, and its address works."""
    repository = NewReleasesRemover(LibraryLocalRepository(place / "packages"))
    assert len((await repository.get_project_page("other")).files) == 1
    resource = await repository.get_resource("other", "other-9.0.tar.gz")
    assert isinstance(resource, LocalResource)


async def test_the_deny_list_of_the_library_splits_a_project(place: Path) -> None:
    """As the guide says: the page comes from the next source, and its files are not found."""
    source = LibraryLocalRepository(place / "packages")
    repository = LibraryPriority([DenyListRepository(source, ("demo",)), source])
    page = await repository.get_project_page("demo")
    assert page.files
    with pytest.raises(ResourceUnavailable):
        await repository.get_resource("demo", page.files[0].filename)


async def test_filters_of_the_library_compare_names_as_given(place: Path) -> None:
    """As the guide says: another spelling passes the library's deny list."""
    (place / "packages" / "Demo").mkdir()
    source = LibraryLocalRepository(place / "packages")
    repository = DenyListRepository(source, ("demo",))
    assert (await repository.get_project_page("Demo")).name == "Demo"
