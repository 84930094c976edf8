"""Rules that hide everything, or what another rule allows; and that many rules are read at once."""

import time
from pathlib import Path

import pytest

from simple_repository_server.config.read import read_config
from simple_repository_server.config.toml_lines import lines_of
from tests.config.files import mistakes, write

SOURCE = '[sources.a]\npath = "packages"\n'


def _rules(*rules: str) -> str:
    return SOURCE + "".join(f"[[rules]]\n{rule}\n" for rule in rules)


@pytest.mark.parametrize(
    ("allow", "deny"),
    [
        ("numpy", "numpy"),
        ("numpy", "num*"),
        ("numpy", "*py"),
        ("numpy", "*ump*"),
        ("Num_Py>=2", "num-py"),
        ("num*", "nu*"),
        ("numpy==1.0", "num*"),
    ],
)
def test_what_is_allowed_and_denied_whole_is_a_mistake(
    tmp_path: Path, allow: str, deny: str
) -> None:
    """A glob that covers all that another rule allows leaves nothing of it, in either order."""
    for rules in ((f"allow=['{allow}']", f"deny=['{deny}']"),
                  (f"deny=['{deny}']", f"allow=['{allow}']")):  # fmt: skip
        (found,) = mistakes(tmp_path, _rules(*rules))
        assert ".deny[1]" in found[1]
        assert "allowed by" in found[2]


@pytest.mark.parametrize(
    ("allow", "deny"),
    [
        ("num*", "numpy"),
        ("numpy", "numpy<2"),
        ("numpy", "numpy-*"),
        ("num*", "num?"),
        ("num*", "*py"),
        ("corp-*", "*-corp"),
    ],
)
def test_a_part_of_what_is_allowed_may_be_denied(tmp_path: Path, allow: str, deny: str) -> None:
    """An exception from what is allowed is no contradiction."""
    read_config(write(tmp_path, _rules(f"allow=['{allow}']", f"deny=['{deny}']")))


@pytest.mark.parametrize(
    "rule",
    [
        "deny=['**']",
        "deny=['?*']",
        "deny=['*']\nprojects=['*']",
        "quarantine=['*?']",
        "min-age='20000 days'",
        "freeze=1999-12-31",
    ],
)
def test_a_rule_that_hides_everything_is_a_mistake(tmp_path: Path, rule: str) -> None:
    """However that is written."""
    (found,) = mistakes(tmp_path, _rules(rule))
    assert "hides everything" in found[2]


@pytest.mark.parametrize(
    "rule", ["only='wheels'\nprojects=['x{}']", "dney=['x{}']", "deny=['!{}']"]
)
def test_thousands_of_rules_are_read_in_linear_time(tmp_path: Path, rule: str) -> None:
    """Of whatever kind, and also if each is wrong."""
    text = _rules(*(rule.format(at) for at in range(4000)))
    started = time.process_time()
    assert len(mistakes(tmp_path, text)) in (0, 4000)
    assert time.process_time() - started < 10


def test_text_that_is_nested_endlessly_ends_the_scan() -> None:
    """Nothing after it is read: memory and time stay small."""
    assert lines_of("a = 1\nb = " + "[" * 2_000_000).of(("a",)) == 1


@pytest.mark.parametrize("text", ["[\n[\n", "[[\n[[\n", "[]\n[]\n", "[[]]\nport = 1\n"])
def test_a_header_without_a_name_is_a_mistake_of_syntax(tmp_path: Path, text: str) -> None:
    """Also if it stands in the file twice."""
    (found,) = mistakes(tmp_path, text)
    assert "not valid TOML" in found[2]


def test_a_yank_file_that_cannot_be_used_is_a_mistake(tmp_path: Path) -> None:
    """It is read before the start, like the advisories."""
    (tmp_path / "yanked.json").write_text("{not json")
    (found,) = mistakes(tmp_path, _rules("yank-file='yanked.json'"))
    assert found[1] == "rules[1].yank-file"
    assert "yanked.json" in found[2]
    (tmp_path / "yanked.json").write_text('{"numpy": ["*.exe", "no installers"]}')
    assert not mistakes(tmp_path, _rules("yank-file='yanked.json'"))
