"""Checks tables of the file against their models: what is wrong is reported in plain sentences."""

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import ValidationError

from simple_repository_server.config.file_model import (
    TABLES,
    CacheTable,
    IndexTable,
    OptionsTable,
    RuleTable,
    SourceTable,
    Table,
    keys_of,
)
from simple_repository_server.config.mistakes import KeyPath, Report, shown_key

T = TypeVar("T", bound=Table)

_SENTENCES = {
    "string_type": "it must be a text in quotes",
    "int_type": "it must be a whole number without quotes",
    "bool_type": "it must be true or false, without quotes",
    "list_type": 'it must be a list, as ["one", "two"]',
    "dict_type": "it must be a table",
}


def checked(model: type[T], table: object, where: KeyPath, report: Report) -> T:
    """The table, without the keys whose values are invalid: these are reported."""
    if not isinstance(table, dict):
        report.add(where, f"it must be a table; write [{shown_key(where)}] and its keys below it")
        return model()
    try:
        return model.model_validate(table)
    except ValidationError as error:
        found = error.errors(include_url=False)
    for one in found:
        report.add((*where, *one["loc"]), _sentence(one, model, where))
    bad = {one["loc"][0] for one in found}
    return model.model_validate({key: value for key, value in table.items() if key not in bad})


def tables_below(data: object, where: KeyPath, report: Report) -> dict[str, Any]:
    """The named tables below `[sources]` or `[indexes]`."""
    if isinstance(data, dict):
        return data
    kind = where[0]
    report.add(where, f"it must be tables with names; write [{kind}.NAME] for each")
    return {}


def suggestion(name: str, known: Iterable[str], *, what: str) -> str:
    """`did you mean …?`, or the list of what is known."""
    names = list(known)
    near = difflib.get_close_matches(name.lower().replace("_", "-"), names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"{what} {', '.join(names)}" if names else "there are none"


def _sentence(error: Any, model: type[Table], where: KeyPath) -> str:
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(str(error["loc"][-1]), model, where)
    if kind == "value_error":
        return str(context["error"])
    if kind in ("literal_error", "enum"):
        return f"it must be {context['expected']}, not {given!r}"
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = context.get("ge", context.get("le"))
        return f"{given} is too {'small' if 'ge' in context else 'large'}; write {bound} or " + (
            "more" if "ge" in context else "less"
        )
    return _SENTENCES.get(kind) or str(error["msg"])


def _unknown(key: str, model: type[Table], where: KeyPath) -> str:
    """An unknown key: where it belongs, or which key may be meant."""
    known = keys_of(model)
    if model is OptionsTable:
        known += TABLES
    parent = SourceTable if where[:1] == ("sources",) else IndexTable
    if model is RuleTable and where[:1] != ("rules",) and key in keys_of(parent):
        table = shown_key(where[:2])
        return f"it is a key of [{table}], not of a rule; write it above the first rule of that"
    if model is not OptionsTable and key in keys_of(OptionsTable) and key not in known:
        return "it is a key of the top level; write it above the first [table] of the file"
    if model is OptionsTable and key in keys_of(CacheTable):
        return f"unknown key; write it below [cache], or as cache-{key}"
    return f"unknown key; {suggestion(key, known, what='the keys here are')}"
