"""The JSON Schema of the configuration file, for editors."""

from typing import Any

from simple_repository_server.config.file_model import FileTable

#: The one that the TOML extensions of editors understand.
_DIALECT = "http://json-schema.org/draft-07/schema#"
_REFERENCE = "#/definitions/{model}"


def schema() -> dict[str, Any]:
    """The schema (JSON Schema, draft 7): each key with its description, type and values."""
    made = FileTable.model_json_schema(by_alias=True, ref_template=_REFERENCE)
    made["definitions"] = made.pop("$defs")
    _without_null(made)
    made["title"] = "simple-repository-server.toml"
    made["description"] = "The configuration of simple-repository-server."
    return {"$schema": _DIALECT, **made}


def _without_null(node: Any) -> None:
    """TOML has no null: optional keys are left out."""
    if isinstance(node, list):
        for one in node:
            _without_null(one)
        return
    if not isinstance(node, dict):
        return
    if "properties" in node:
        for one in node["properties"].values():
            one.pop("title", None)
    choices = node.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [one for one in choices if one != {"type": "null"}]
        del node["anyOf"]
        # Beside a reference, draft 7 ignores everything else.
        node.update({"anyOf": rest} if len(rest) > 1 or "$ref" in rest[0] else rest[0])
        if node.get("default", "") is None:
            del node["default"]
    for one in node.values():
        _without_null(one)
