"""What a valid file means."""

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.config.durations import parse_duration
from simple_repository_server.config.patterns import is_everything, pattern_problem, same_pattern
from simple_repository_server.config.rule_settings import RuleKind
from simple_repository_server.config.settings import DirectorySource, IndexSource
from simple_repository_server.config.toml_lines import lines_of
from simple_repository_server.model import FilesMode, Status
from simple_repository_server.policy.file_kinds import FileKind
from simple_repository_server.policy.undated import Undated
from tests.config.files import read

#: The example of the documentation, with directories that exist here.
EXAMPLE = """\
[cache]
dir = "cache"
size = "50GB"

[sources.company]
path = "packages"
[sources.torch]
url = "https://wheels.example/whl/cu128/"
forbidden = "absent"
[sources.pypi]
url = "pypi"

[indexes.main]                       # at /main/simple/ and, as the default, at /simple/
default = true
sources = ["company", "torch", "pypi"]

[[indexes.main.rules]]
reserve = ["corp-*", "corp"]         # belong to company: nobody else is ever asked
for = "company"
[[indexes.main.rules]]
min-age = "7 days"
except = ["corp-*", "urllib3==2.6.1"]
undated = "refuse"
fast-lane = true                     # versions that fix a known advisory come at once
[[indexes.main.rules]]
deny = ["leftpad", "requests<2.32"]
reason = "see the security board"

[advisories]
osv = "osv"
"""


def test_the_example(tmp_path: Path) -> None:
    """Each part of the example means what its comments say."""
    config = read(tmp_path, EXAMPLE)
    assert config.options == {"cache_dir": tmp_path / "cache", "cache_size": "50000000000"}
    company, torch, pypi = config.sources
    assert company == DirectorySource(path=tmp_path / "packages", name="company")
    assert isinstance(torch, IndexSource)
    assert isinstance(pypi, IndexSource)
    assert (torch.name, torch.forbidden_means_absent) == ("torch", True)
    assert (pypi.name, pypi.forbidden_means_absent) == ("pypi", False)
    (main,) = config.indexes
    assert (main.name, main.default, main.sources) == ("main", True, (0, 1, 2))
    reserve, age, deny = main.rules
    assert (reserve.kind, reserve.owner) == (RuleKind.RESERVE, "company")
    assert reserve.patterns == ("corp-*", "corp")
    assert (age.kind, age.min_age_s, age.undated) == (RuleKind.MIN_AGE, 604800, Undated.REFUSE)
    assert (age.fast_lane, age.exempt) == (True, ("corp-*", "urllib3==2.6.1"))
    assert age.label == 'min-age = "7 days" (indexes.main, rule 2)'
    assert deny.patterns == ("leftpad", "requests<2.32")
    assert deny.reason == "see the security board"
    assert config.osv == tmp_path / "osv"


def test_every_key_of_a_source(tmp_path: Path) -> None:
    """Credentials, timeouts, staleness and modes of a source arrive in its settings."""
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "secret").chmod(0o600)
    config = read(
        tmp_path,
        """
        [sources.x]
        url = "https://index.example/simple/"
        user = "ci"
        password-file = "secret"
        connect-timeout = "1 s"
        idle-timeout = 2
        page-timeout = "3s"
        file-timeout = "2 h"
        forbidden = "error"
        files = "stream"
        stale-if-error = "2 days"
        stale-while-revalidate = 0
        proxy = "http://${TOKEN}@proxy.example:3128"
        [sources.y]
        url = "https://ci:${TOKEN}@index.example/simple/"
        [sources.z]
        url = "https://index.example/${TOKEN}/simple/"
        """,
    )
    x, y, z = config.sources
    assert isinstance(x, IndexSource)
    assert isinstance(y, IndexSource)
    assert isinstance(z, IndexSource)
    assert (x.user, x.password, x.files) == ("ci", "hunter2", FilesMode.STREAM)
    assert (x.stale_if_error_s, x.stale_while_revalidate_s) == (172800, 0)
    assert x.limits is not None
    assert [x.limits.connect_s, x.limits.idle_s] == [1, 2]
    assert [x.limits.page_s, x.limits.file_s] == [3, 7200]
    own = config.own_egress[0]
    assert own.proxies is not None
    assert own.proxies.https is not None
    assert own.proxies.https.user == "s3cret/pass"
    assert (y.user, y.password) == ("ci", "s3cret/pass")
    assert z.shown == "https://index.example/${TOKEN}/simple/"
    assert not {"hunter2", "s3cret"} & set(re.findall(r"\w+", repr(config.sources)))


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('allow = ["a", "b<2"]', {"patterns": ("a", "b<2")}),
        ("freeze = 2026-08-01", {"at": datetime(2026, 8, 1, tzinfo=UTC)}),
        ("freeze = 2026-08-01T12:00:00", {"at": datetime(2026, 8, 1, 12, tzinfo=UTC)}),
        ("freeze = 2026-08-01T12:00:00+02:00", {"at": datetime(2026, 8, 1, 10, tzinfo=UTC)}),
        ('min-age = "36h"\nundated = "first-seen"', {"min_age_s": 129600.0,
                                                     "undated": Undated.FIRST_SEEN}),
        ('advisories = "malicious"\nignore = ["PYSEC-1"]', {"malicious_only": True,
                                                            "ignore": ("PYSEC-1",)}),
        ('advisories = "all"', {"malicious_only": False}),
        ('only = "sdists"', {"only": FileKind.SDIST}),
        ('pre-releases = "hide"', {}),
        ('yanked = "hide"\ndry-run = true\nconceal = true', {"dry_run": True, "conceal": True}),
        ('yank = ["a==1"]', {"patterns": ("a==1",)}),
        ('yank-file = "file"', {}),
        ('quarantine = ["a"]\nreason = "x\\ny"', {"patterns": ("a",), "reason": "x y"}),
        ('status = "archived"\nprojects = ["a"]', {"status": Status.ARCHIVED, "patterns": ("a",),
                                                   "projects": None}),
        (
            'deny = ["*"]\nprojects = ["a"]\nexcept = ["b"]\nkinds = ["egg", "wheel"]\n'  # noqa: ISC004
            'larger-than = "1MB"\nsmaller-than = "1GiB"\nplatforms = ["win*"]',
            {"projects": ("a",), "exempt": ("b",), "kinds": (FileKind.EGG, FileKind.WHEEL),
             "larger_than": 10**6, "smaller_than": 2**30, "platforms": ("win*",)},
        ),
    ],
)  # fmt: skip
def test_every_kind_of_rule(tmp_path: Path, text: str, fields: dict[str, Any]) -> None:
    """Each kind of rule, and each key of its scope, arrives in its settings."""
    config = read(tmp_path, f"[advisories]\nosv = 'osv'\n[[rules]]\n{text}")
    (rule,) = config.indexes[0].rules
    assert text.startswith(f"{rule.kind} = ")
    assert rule.label.startswith(f"{rule.kind} = ")
    assert rule.label.endswith("(rule 1)")
    assert {name: getattr(rule, name) for name in fields} == fields


def test_indexes_and_their_rules(tmp_path: Path) -> None:
    """Rules at the top come first in each index; a source has its own; one index is the default."""
    config = read(
        tmp_path,
        """
        [sources.a]
        path = "packages"
        [[sources.a.rules]]
        pre-releases = "hide"
        [sources.b]
        url = "pypi"
        [[rules]]
        deny = ["x"]
        [indexes.one]
        snapshots = true
        [indexes.two]
        default = true
        sources = ["b"]
        rules = [{ only = "wheels" }]
        """,
    )
    one, two = config.indexes
    assert (one.sources, one.default, one.snapshots) == ((0, 1), False, True)
    assert (two.sources, two.default, two.snapshots) == ((1,), True, False)
    assert [rule.kind for rule in one.rules] == [RuleKind.DENY]
    assert [rule.kind for rule in two.rules] == [RuleKind.DENY, RuleKind.ONLY]
    assert [rule.label for rule in config.source_rules[0]] == [
        'pre-releases = "hide" (sources.a, rule 1)'
    ]


def test_one_index_is_the_default(tmp_path: Path) -> None:
    """A single index is at /simple/, too; without any, all sources make one without a name."""
    (named,) = read(tmp_path, "[sources.a]\npath='packages'\n[indexes.x]").indexes
    assert (named.name, named.default, named.sources) == ("x", True, (0,))
    (nameless,) = read(tmp_path, "[sources.a]\npath='packages'").indexes
    assert (nameless.name, nameless.default, nameless.sources) == ("", True, (0,))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7 days", 604800), ("1 day", 86400), ("36h", 129600), ("90 s", 90), ("1.5 h", 5400),
     ("2 Weeks", 1209600), ("5min", 300), ("10m", 600)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    """A number and a unit, with or without a space."""
    assert parse_duration(text) == seconds


# --- patterns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["numpy", "corp-*", "requests<2.32", "a == 1.0, != 1.1", "?", "A_b"]
)
def test_patterns(text: str) -> None:
    """A name or glob with an optional specifier is a pattern."""
    assert pattern_problem(text) == ""


def test_spellings_of_a_pattern_are_the_same() -> None:
    """Case, separators and the order of clauses make no difference."""
    assert same_pattern("Foo_Bar >=1,<2") == same_pattern("foo-bar<2, >=1")
    assert same_pattern("foo") != same_pattern("foo<2")
    assert is_everything("**")
    assert not is_everything("*a")


@given(st.text(st.sampled_from("aB1-_.*? <>=!~;@[]ä"), max_size=12))
def test_patterns_of_the_file_are_those_of_the_rules(text: str) -> None:
    """A text is a pattern here exactly if the rules accept it."""
    patterns = pytest.importorskip("simple_repository_server.policy.patterns")
    try:
        patterns.Patterns([text])
    except ValueError:
        assert pattern_problem(text)
    else:
        assert not pattern_problem(text)


# --- lines ---------------------------------------------------------------------------------------

LAYOUT = '''\
# a comment with [brackets] and = signs
a = 1
b.c = """
[not.a.table]
x = "1\\"""
""" # [d]
"quo.ted" = 'C:\\'
'lit"eral' = """a""""
"esc\\u0041ped" = 2026-08-01 07:32:00
[t . u]
v = [ # comment ]
  "a,]",
  ["b"],
  { x = 1, y.z = [
    2 ] },
]
[[l]]
[[l]]
k = 1
[l.sub]
k = 2
[[l.deep]]
k = 3
[[l]]
k = 4
'''


def test_lines_of_all_kinds_of_keys() -> None:
    """Strings, comments, arrays and inline tables mislead nobody about lines."""
    lines = lines_of(LAYOUT)
    assert tomllib.loads(LAYOUT)
    assert lines.seconds == ()
    expected: dict[tuple[str | int, ...], int] = {
        ("a",): 2, ("b", "c"): 3, ("quo.ted",): 7, ('lit"eral',): 8, ("escAped",): 9,
        ("t", "u"): 10, ("t", "u", "v"): 11, ("t", "u", "v", 0): 12, ("t", "u", "v", 1): 13,
        ("t", "u", "v", 2, "y", "z"): 14, ("t", "u", "v", 2, "y", "z", 0): 15,
        ("l", 0): 17, ("l", 1): 18, ("l", 1, "k"): 19, ("l", 1, "sub", "k"): 21,
        ("l", 1, "deep", 0, "k"): 23, ("l", 2, "k"): 25,
    }  # fmt: skip
    assert {path: lines.of(path) for path in expected} == expected


_KEYS = st.sampled_from(["a", "b", "c-d", '"q.r"', "'s t'"])
_VALUES = st.recursive(
    st.sampled_from(
        ["1", "-2.5", "true", '"x"', "'y'", '"""m\n[n]\nl"""', "'''\nz'''", "2026-08-01"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda some: "[\n" + ",#c\n".join(some) + "\n]")
        | st.dictionaries(_KEYS, inner.filter(lambda one: "\n" not in one), max_size=2).map(
            lambda some: "{" + ", ".join(f"{key} = {value}" for key, value in some.items()) + "}"
        )
    ),
    max_leaves=6,
)
_PAIRS = st.dictionaries(_KEYS, _VALUES, max_size=3).map(
    lambda some: "".join(f"{key} = {value}\n" for key, value in some.items())
)
_TABLES = st.lists(st.tuples(st.sampled_from(["[[l]]", "[[l.m]]", "[l.n]", "[o]"]), _PAIRS))


def _paths(value: Any, where: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [where] if where else []
    below: Any = value.items() if isinstance(value, dict) else ()
    for key, one in enumerate(value) if isinstance(value, list) else below:
        found += _paths(one, (*where, key))
    return found


@given(_PAIRS, _TABLES)
def test_every_path_of_a_valid_file_has_its_line(pairs: str, tables: Any) -> None:
    """Whatever tomllib finds in a text has a line, on which its key stands."""
    text = pairs + "".join(f"{header}\n{some}" for header, some in tables)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        lines_of(text)  # whatever it returns, it returns
        return
    lines, rows = lines_of(text), text.split("\n")
    assert lines.seconds == ()
    for path in _paths(data):
        assert path in lines.by_path, (path, text)
        if isinstance(path[-1], str):
            assert path[-1] in rows[lines.by_path[path] - 1]


@given(st.text(st.sampled_from("ab\"'[]{}=.,#\n \\u"), max_size=60))
def test_the_scan_of_any_text_ends(text: str) -> None:
    """Invalid text is scanned without an error."""
    lines_of(text)
