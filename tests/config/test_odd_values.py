"""Any value at any key: reading ends with settings or with mistakes, never with another error."""

import json
from pathlib import Path
from typing import Any

import pytest

from simple_repository_server.cli.given import Given, given_by
from simple_repository_server.cli.serve import command
from simple_repository_server.cli.settings import load_settings
from simple_repository_server.config import file_model
from simple_repository_server.config.load import BadSetting
from simple_repository_server.config.mistakes import Mistakes
from tests.config.files import write

ODD = [
    "1", "-1", "1.5", "inf", "nan", "9" * 400, "true", '""', '"x"', '" "', '"*"', '"\\u0000"',
    '"~nobody-of-that-name/x"', '"${"', '"${UNSET}"', '"http://"', '"\\u202e"',
    "'" + "x" * 5000 + "'", "[]", "{}", "[1]", '[""]', '["x"]', '["*"]', "[[]]", "[{}]", "{x = 1}",
    "2026-08-01", "07:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", '"9" ',
    "[[[[[[1]]]]]]",
]  # fmt: skip
TABLES: dict[str, Any] = {
    "": file_model.OptionsTable,
    "[cache]\n": file_model.CacheTable,
    "[sources.s]\nurl = 'https://s.example/'\n": file_model.SourceTable,
    "[sources.s]\n": file_model.SourceTable,
    "[sources.s]\npath = 'packages'\n[indexes.i]\n": file_model.IndexTable,
    "[[rules]]\n": file_model.RuleTable,
    "[[rules]]\nmin-age = '1 day'\n": file_model.RuleTable,
    "[advisories]\n": file_model.AdvisoriesTable,
    "[audit]\n": file_model.AuditTable,
}
CASES = sorted({(head, key) for head, model in TABLES.items() for key in file_model.keys_of(model)})


def _given(path: Path) -> Given:
    with command.make_context("srs", ["--config", str(path)]) as context:
        return given_by(context)


@pytest.mark.parametrize(("head", "key"), [*CASES, *(("", table) for table in file_model.TABLES)])
def test_odd_values_are_accepted_or_mistakes(tmp_path: Path, head: str, key: str) -> None:
    """Each mistake is one line with the line of the key, and shows no control characters."""
    for value in ODD:
        path = write(tmp_path, f"{head}{key} = {value}\n")
        try:
            load_settings(_given(path), {"HOME": str(tmp_path)})
        except Mistakes as error:
            for mistake in error.mistakes:
                assert mistake.line, (value, str(mistake))
                assert len(str(mistake).splitlines()) == 1, (value, str(mistake))
        except BadSetting as error:
            pytest.fail(f"{key} = {value}: {json.dumps(str(error))} has no line")
