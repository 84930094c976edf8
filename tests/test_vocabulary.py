"""What users read uses the words of docs/glossary.md, and none of those that it replaces."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
#: Not reworded yet. Take a name out when its text is.
_PENDING = {"README.md", "architecture.md"}
_DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_SOURCES = sorted((ROOT / "src").rglob("*.py"))
#: Code, and tables that are generated from elsewhere.
_CODE_BLOCK = re.compile(r"```.*?```|<!-- (\w+): begin.*?\1: end -->", re.DOTALL)


def _avoided() -> re.Pattern[str]:
    """The words in the left column of the last table of the glossary."""
    table = GLOSSARY.read_text().partition("\n## Words to avoid\n")[2]
    words = [row.split("|")[1].strip() for row in table.splitlines() if row.startswith("| ")][2:]
    assert len(words) > 10
    either = "|".join(r"\s+".join(map(re.escape, word.split())) for word in words)
    return re.compile(rf"\b(?:{either})\b", re.IGNORECASE)


def _messages(path: Path) -> list[str]:
    """The texts in a module that are no docstrings: help, errors, lines of the log."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) not in docstrings and " " in node.value
    ]


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: path.stem)
def test_messages_use_the_terms_of_the_glossary(path: Path) -> None:
    """Help, errors and log lines hold none of the words to avoid."""
    avoided = _avoided()
    assert [text for text in _messages(path) if avoided.search(text)] == []


@pytest.mark.parametrize(
    "path",
    [p for p in _DOCUMENTS if p.name not in _PENDING and p != GLOSSARY],
    ids=lambda path: path.stem,
)
def test_documents_use_the_terms_of_the_glossary(path: Path) -> None:
    """Documents hold none of the words to avoid, outside of code and tables of figures."""
    assert _avoided().findall(_CODE_BLOCK.sub("", path.read_text())) == []
