"""What the documentation shows works as it is shown."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if _blocks(p)], ids=lambda path: path.stem)
def test_python_examples_run(path: Path) -> None:
    """Each Python example runs; those that make an application make one."""
    for block in _blocks(path):
        names: dict[str, object] = {}
        exec(compile(block, str(path), "exec"), names)
        if "app = " in block:
            assert isinstance(names["app"], FastAPI)


@pytest.mark.parametrize("path", [*DOCUMENTS, *ROOT.glob("*.md"), ROOT / "bench/README.md"],
                         ids=lambda path: path.stem)  # fmt: skip
def test_links_lead_somewhere(path: Path) -> None:
    """Each link to a file of the project leads to one."""
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_house_is_drawn_as_it_is() -> None:
    """Every module is named in the architecture."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    package = ROOT / "src" / "simple_repository_server"
    for module in package.rglob("*.py"):
        if module.stem not in {"__init__", "__main__", "version"}:
            assert module.name in text, module


def test_figures_are_those_of_the_results_file() -> None:
    """The tables in the documents are what the benchmark's results file says."""
    command = [sys.executable, "-m", "bench.tables", "bench/results.json", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
