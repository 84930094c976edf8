"""Write the tables of keys in docs/configuration.md: `python -m docs.generate_config`."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from simple_repository_server.config.file_model import (
    AdvisoriesTable,
    AuditTable,
    CacheTable,
    IndexTable,
    OptionsTable,
    RuleTable,
    SourceTable,
)

DOCUMENT = Path(__file__).parent / "configuration.md"
#: The table of the file, by the name of the block in the document.
TABLES: Mapping[str, type[BaseModel]] = {
    "options": OptionsTable,
    "cache": CacheTable,
    "sources": SourceTable,
    "indexes": IndexTable,
    "rules": RuleTable,
    "advisories": AdvisoriesTable,
    "audit": AuditTable,
}
_MARKED = re.compile(r"(<!-- keys of (\w+): begin -->\n).*?(<!-- keys of \2: end -->)", re.DOTALL)
_NAMES = {"string": "text", "integer": "number", "number": "number", "boolean": "true or false"}


def keys(model: type[BaseModel]) -> str:
    """The Markdown table of the keys of a table: a line for each one."""
    schema = model.model_json_schema(by_alias=True)
    lines = ["| key | value | meaning |", "| --- | --- | --- |"]
    for name, about in schema["properties"].items():
        if name != "rules":
            value = _value(about, schema.get("$defs", {}))
            lines.append(f"| `{name}` | {_cell(value)} | {_cell(_meaning(about))} |")
    return "\n".join(lines) + "\n"


def _meaning(about: Mapping[str, Any]) -> str:
    return re.sub(r"\s+", " ", str(about.get("description", "")))


def _value(about: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """What may stand behind the key."""
    if "$ref" in about:
        return _value(known[about["$ref"].rpartition("/")[2]], known)
    if "anyOf" in about and "type" not in about:
        kinds = (_value(one, known) for one in about["anyOf"] if one.get("type") != "null")
        return " or ".join(dict.fromkeys(kinds))
    if "const" in about or "enum" in about:
        return ", ".join(f"`{one}`" for one in about.get("enum", [about.get("const")]))
    return _typed(about, known)


def _typed(about: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    if about.get("type") == "array":
        of = _value(about.get("items", {}), known)
        return "list of texts" if of == "text" else f"list of {of}"
    if any(one.get("format") == "date" for one in about.get("anyOf", [])):
        return "date, or date and time"
    return "text with a unit" if "pattern" in about else _NAMES.get(str(about.get("type")), "")


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")


def generated(text: str) -> str:
    """The document with the tables generated from the code."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{keys(TABLES[found[2]])}\n{found[3]}", text)


def main() -> int:
    """Write the tables; with `--check`, only report by the exit status whether they are current."""
    text = DOCUMENT.read_text()
    new = generated(text)
    if "--check" in sys.argv[1:]:
        return int(new != text)
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
