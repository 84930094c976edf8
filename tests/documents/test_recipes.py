"""The recipes run as they stand, and a client sees what they say."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from simple_repository_server.testing.distributions import build_wheel
from tests.documents.places import company_folder
from tests.documents.published import Published, on, public_files, publish
from tests.documents.stand_ins import StandIns
from tests.documents.transcripts import differences, exchanges, toml_blocks
from tests.serving import serving

FOLDER = Path(__file__).parents[2] / "docs" / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.md") if path.stem != "README")
TOKEN = "r3search token/with:signs"


@pytest.fixture
def stand_ins(tmp_path: Path) -> Iterator[StandIns]:
    """PyPI and the other hosts that the recipes name."""
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    with StandIns(folder) as running:
        publish(running.pypi, public_files())
        wheels = [
            Published(build_wheel("torch", "2.9.0+cu128"), None),
            Published(build_wheel("numpy", "0.1"), on("2024-01-01")),
        ]
        publish(running.host("wheels.example"), wheels, root="/whl/cu128/")
        models = [Published(build_wheel("research-models", "1.0"), None)]
        publish(running.host("packages.research.example"), models, user=("ci", TOKEN))
        yield running


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_recipe_does_what_it_says(recipe: Path, tmp_path: Path, stand_ins: StandIns) -> None:
    """A server with the file of the recipe answers each request as the recipe says."""
    (text,) = toml_blocks(recipe)
    config = company_folder(tmp_path / "server", text)
    documented = exchanges(recipe)
    assert documented
    variables = {**stand_ins.environment, "RESEARCH_TOKEN": TOKEN}
    options = ("--config", config, "--host", "127.0.0.1")
    with serving(tmp_path, *options, **variables) as server:
        wrong = differences(server, documented)
        assert wrong == {}, server.log[:2000]
        assert TOKEN not in server.log + server.banner
    private = [
        r.target for r in stand_ins.pypi.requests if re.search("/(corp|research)-", r.target)
    ]
    assert private == [], "PyPI was queried for private names"


def test_the_index_lists_each_recipe() -> None:
    """Each recipe is in the table of the index, and nothing else is."""
    listed = re.findall(r"\]\(([a-z-]+)\.md\)", (FOLDER / "README.md").read_text())
    assert sorted(listed) == [path.stem for path in RECIPES]
    assert len(listed) == 5
