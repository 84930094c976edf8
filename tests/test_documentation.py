"""What the documentation shows works as it is shown."""

import ast
import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docs import generate_config, generate_events
from fastapi import FastAPI

from simple_repository_server import LocalRepository, ProjectName
from simple_repository_server.config.file_model import TABLES
from simple_repository_server.testing import Known, build_sdist, build_wheel, conformance
from simple_repository_server.wiring import sources as memory

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
#: What users import from; other modules may move.
FRONTS = {"simple_repository_server", "simple_repository_server.testing"}


def _blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


def _files(path: Path) -> dict[str, str]:
    """The examples that say in their first line which file they are."""
    return {
        name[1]: block for block in _blocks(path) if (name := re.match(r"# (\w+\.py)\n", block))
    }


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if _blocks(p)], ids=lambda path: path.stem)
def test_python_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Python example runs; those that make an application make one."""
    for name, text in _files(path).items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for block in _blocks(path):
        names: dict[str, object] = {}
        exec(compile(block, str(path), "exec"), names)
        if "app = " in block:
            assert isinstance(names["app"], FastAPI)


def test_the_examples_of_a_project_are_one(tmp_path: Path) -> None:
    """The files of the library's guide, as printed, are a project whose tests pass.

    There it has pytest without any plugin, and none of our settings.
    """
    files = _files(ROOT / "docs" / "library.md")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > len(conformance.CHECKS)
    assert {name for name in files if name.startswith("test_")}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_the_component_of_the_guide_conforms(
    check: conformance.Check, quick: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What people copy keeps the promises of the interface, with peeks and without."""
    names: dict[str, Any] = {}
    files = _files(ROOT / "docs" / "library.md")
    exec(files["only_wheels.py"], names)
    monkeypatch.setitem(sys.modules, "only_wheels", SimpleNamespace(**names))
    exec(files["quick_wheels.py"], names)
    for built in (build_wheel("demo"), build_sdist("demo", "2.0")):
        (tmp_path / built.filename).write_bytes(built.content)

    async def run() -> None:
        kind = names["QuickWheelsRepository" if quick else "OnlyWheelsRepository"]
        async with kind(LocalRepository(tmp_path)) as repository:
            await check(repository, Known(project=ProjectName("demo")))

    asyncio.run(run())


@pytest.mark.parametrize("path", [p for p in EXAMPLES if p.stem != "__init__"],
                         ids=lambda path: path.stem)  # fmt: skip
def test_examples_say_how_to_run_them(path: Path) -> None:
    """Without arguments each one prints the very command that its head shows."""
    done = subprocess.run(
        [sys.executable, path], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    usage = done.stderr.removeprefix("usage: ").strip()
    assert "\n" not in usage
    assert usage.startswith(f"python examples/{path.name} ")
    assert usage in (ast.get_docstring(ast.parse(path.read_text())) or "")


def _imported(text: str) -> set[str]:
    """The modules of ours that a program imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name for name in found if name.startswith("simple_repository_server")}


@pytest.mark.parametrize("path", [*DOCUMENTS, *EXAMPLES], ids=lambda path: path.stem)
def test_examples_import_from_the_front(path: Path) -> None:
    """What people copy imports nothing that may move."""
    programs = [path.read_text()] if path.suffix == ".py" else _blocks(path)
    for program in programs:
        assert _imported(program) <= FRONTS


@pytest.mark.parametrize("path", [*DOCUMENTS, *ROOT.glob("*.md"), ROOT / "bench/README.md"],
                         ids=lambda path: path.stem)  # fmt: skip
def test_links_lead_somewhere(path: Path) -> None:
    """Each link to a file of the project leads to one."""
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


ARCHITECTURE = ROOT / "docs" / "architecture.md"
PACKAGE = ROOT / "src" / "simple_repository_server"


def _drawn() -> set[str]:
    """The modules on the map in the architecture, as paths below the package."""
    block = re.search(r"```\n(errors\.py.*?)```", ARCHITECTURE.read_text(), re.DOTALL)
    assert block
    found: set[str] = set()
    folder = ""
    for line in block[1].splitlines():
        if not line.startswith(" "):
            first = line.split()[0]
            folder = first if first.endswith("/") else ""
        found |= {folder + name for name in re.findall(r"\b\w+\.py\b", line)}
    return found


def test_architecture_maps_each_module() -> None:
    """The map in the architecture has each module in its folder, and none that does not exist."""
    modules = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    silent = {path for path in modules if Path(path).stem in {"__init__", "__main__", "version"}}
    drawn = _drawn()
    assert (modules - silent - drawn, drawn - modules) == (set(), set())


def _where_to_find() -> list[tuple[str, str, str]]:
    """The rows of the table "Where to find what": behaviour, file, function or class."""
    _, _, section = ARCHITECTURE.read_text().partition("\n## Where to find what\n")
    section, _, _ = section.partition("\n## ")
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in section.splitlines()
        if line.startswith("|") and not set(line) <= set("|-: ")
    ]
    return [(row[0], row[1], row[2]) for row in rows[1:]]


def test_architecture_says_where_to_find_what() -> None:
    """Each behaviour of the table is in the file, and done by the functions, that it names."""
    rows = _where_to_find()
    assert len(rows) >= 18
    for behaviour, file, names in rows:
        for path in re.findall(r"[\w/]+\.py", file):
            assert (PACKAGE / path).exists(), (behaviour, path)
        wanted = re.findall(r"`(\w+(?:\.\w+)*)(?:\(.*?\))?`", names)
        assert wanted, behaviour
        defined = {name for path in re.findall(r"[\w/]+\.py", file) for name in _defined(path)}
        assert set(wanted) <= defined, (behaviour, set(wanted) - defined)


def _defined(path: str) -> set[str]:
    """The functions and classes a module defines, methods also as `Class.method`."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{one.name}"
                for one in node.body
                if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return found


def test_events_are_those_of_the_code() -> None:
    """The table of events is what the code generates."""
    assert generate_events.DOCUMENT.read_text() == generate_events.generated(
        generate_events.DOCUMENT.read_text()
    ), "run python -m docs.generate_events"
    assert len(generate_events.kinds()) > 20


def test_keys_of_the_file_are_those_of_the_code() -> None:
    """The tables of keys are what the code generates, and each table of the file has one."""
    text = generate_config.DOCUMENT.read_text()
    assert text == generate_config.generated(text), "run python -m docs.generate_config"
    shown = re.findall(r"<!-- keys of (\w+): begin -->", text)
    assert shown == list(generate_config.TABLES)
    assert {*TABLES, "options"} == set(shown)


def test_shares_of_memory_are_those_of_the_code() -> None:
    """The parts of `--memory` in the reference are those by which the wiring divides it."""
    section = (ROOT / "docs" / "command.md").read_text().partition("\n## Memory\n")[2]
    section = section.partition("\n## ")[0]
    parts = [(int(part), int(whole)) for part, whole in re.findall(r"(\d+)/(\d+)", section)]
    shares = [
        memory.RESPONSES, memory.PAGES, memory.LISTS, memory.UNIONS, memory.METADATA,
        memory.LOOKUPS,
    ]  # fmt: skip
    assert parts == [(share, memory.WHOLE) for share in shares]
    assert sum(shares) == memory.WHOLE


def test_figures_are_those_of_the_results_file() -> None:
    """The tables in the documents are what the benchmark's results file says."""
    command = [sys.executable, "-m", "bench.tables", "bench/results.json", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
