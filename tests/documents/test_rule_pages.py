"""The page of each rule: its example runs as it stands, and a client sees what the page says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from simple_repository_server.config.rule_settings import RuleKind
from simple_repository_server.testing.distributions import build_wheel
from tests.documents.places import company_folder
from tests.documents.published import Published, on, public_files, publish
from tests.documents.stand_ins import StandIns
from tests.documents.transcripts import differences, exchanges, toml_blocks
from tests.serving import serving

FOLDER = Path(__file__).parents[2] / "docs" / "rules"
INDEX = FOLDER / "README.md"
PAGES = {kind: FOLDER / f"{kind}.md" for kind in RuleKind}
SECTIONS = ["In the file", "What a client sees", "What it does not do", "In the library"]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIns]:
    """PyPI with the files of the table in the index of the pages, and another index."""
    with StandIns(tmp_path_factory.mktemp("stand-ins")) as running:
        publish(running.pypi, public_files())
        wheels = [
            Published(build_wheel("torch", "2.9.0+cu128"), None),
            Published(build_wheel("numpy", "0.1"), on("2024-01-01")),
        ]
        publish(running.host("wheels.example"), wheels, root="/whl/cu128/")
        yield running


@pytest.mark.parametrize("kind", RuleKind)
def test_the_example_does_what_its_page_says(
    kind: RuleKind, tmp_path: Path, stand_ins: StandIns
) -> None:
    """A server with the file of the page answers each of its requests as the page says."""
    (text,) = toml_blocks(PAGES[kind])
    config = company_folder(tmp_path, text)
    documented = exchanges(PAGES[kind])
    assert documented
    with serving(tmp_path, "--config", config, **stand_ins.environment) as server:
        wrong = differences(server, documented)
        assert wrong == {}, server.log[:2000]


@pytest.mark.parametrize("kind", RuleKind)
def test_each_page_has_the_same_sections(kind: RuleKind) -> None:
    """Each rule has a page that says what it is for, how to write it, and what it does not do."""
    text = PAGES[kind].read_text()
    assert text.startswith(f"# `{kind}`")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS


def test_the_index_lists_each_rule() -> None:
    """The table of the index has a row for each rule, and no page lacks one."""
    rows = set(re.findall(r"^\| \[`([a-z-]+)`\]\(\1\.md\)", INDEX.read_text(), re.MULTILINE))
    assert rows == {str(kind) for kind in RuleKind}
    assert {path.stem for path in FOLDER.glob("*.md")} - {"README"} == rows


def test_the_index_lists_the_files_of_the_stand_in() -> None:
    """The table of files is what the examples run against."""
    section = INDEX.read_text().partition("\n## The examples\n")[2]
    listed = set(re.findall(r"`([a-z0-9_]+-[^`]+\.(?:whl|tar\.gz))`", section))
    published = {one.built.filename for one in public_files()}
    assert listed == published | {"corp_tools-1.0-py3-none-any.whl"}
