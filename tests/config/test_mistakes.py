"""Every mistake of a file: its line, its key, and what to do."""

from pathlib import Path

import pytest

from simple_repository_server.config.mistakes import Mistakes
from simple_repository_server.config.read import read_config
from tests.config.files import ENVIRONMENT, mistakes, write

SOURCES = """\
[sources.a]
path = "packages"
[sources.b]
url = "https://b.example/simple/"
"""
#: SOURCES has four lines: what follows begins on line 5.
RULE = f"{SOURCES}[[rules]]\n"


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        # --- options
        ("port = 80000", 1, "port", "65535 or less"),
        ("\n\nport = '80'", 3, "port", "whole number"),
        ("workers = 0", 1, "workers", "1 or more"),
        ("cache_dir = 'x'", 1, "cache_dir", "did you mean 'cache-dir'?"),
        ("colour = 'x'", 1, "colour", "the keys here are"),
        ("files = 'cach'", 1, "files", "'redirect', 'stream' or 'cache'"),
        ("offline = 'yes'", 1, "offline", "true or false"),
        ("allowed-host = 'a'", 1, "allowed-host", "a list"),
        ("memory = '10XB'", 1, "memory", "not a size"),
        ("stale-if-error = '3 fortnights'", 1, "stale-if-error", "unknown unit"),
        ("dir = 'x'", 1, "dir", "below [cache]"),
        ("[cache]\nport = 1", 2, "cache.port", "above the first [table]"),
        ("cache-size = '2GB'\n[cache]\nsize = '1GB'", 3, "cache.size", "remove one"),
        ("proxy = 'http://${UNSET}@p:1'", 1, "proxy", "UNSET is not set"),
        ("cache = 1", 1, "cache", "must be a table"),
        # --- sources
        ("[sources]", 1, "sources", "no source"),
        ("[sources.x]", 1, "sources.x", "neither url nor path"),
        ("[sources.x]\nurl='pypi'\npath='packages'", 1, "sources.x", "not both"),
        ("[sources.x]\nurl='ftp://x'", 2, "sources.x.url", "http:// or https://"),
        ("[sources.x]\nurl='packages'", 2, "sources.x.url", "path = "),
        ("[sources.x]\nurl='https://h.example/${UNSET}/'", 2, "sources.x.url", "UNSET is not set"),
        ("[sources.x]\nurl='https://h.example/?a'", 2, "sources.x.url", "must not contain"),
        ("[sources.x]\npath='nowhere'", 2, "sources.x.path", "no such file or directory"),
        ("[sources.x]\npath='file'", 2, "sources.x.path", "is not a directory"),
        ("[sources.x]\npath=''", 2, "sources.x.path", "empty"),
        ("[sources.x]\npath='packages'\nuser='u'", 3, "sources.x.user", "not for directories"),
        ("[sources.'x y']\npath='packages'", 1, 'sources."x y"', "letters, digits"),
        ("[sources.x]\nurl='https://h.example/'\npassword='${TOKEN}'", 1, "sources.x", "no user"),
        (
            "[sources.x]\nurl='http://h.example/'\nuser='u'\npassword='${TOKEN}'",
            2, "sources.x.url", "without encryption",
        ),
        (
            "[sources.x]\nurl='https://u@h.example/'\nuser='u'",
            2, "sources.x.url", "contains a user",
        ),
        (
            "[sources.x]\nurl='https://h.example/'\nuser='u'\npassword='${NOPE}'",
            4, "sources.x.password", "NOPE is not set",
        ),
        (
            "[sources.x]\nurl='https://h.example/'\nuser='u'\npassword-file='nowhere'",
            4, "sources.x.password-file", "cannot be read",
        ),
        (
            "[sources.x]\nurl='https://h.example/'\nforbidden='absant'",
            3, "sources.x.forbidden", "'absent' or 'error'",
        ),
        (
            "[sources.x]\nurl='https://h.example/'\nconnect-timeout=0",
            3, "sources.x.connect-timeout", "would fail every request",
        ),
        (
            "[sources.x]\nurl='https://h.example/'\nca-file='file'",
            3, "sources.x.ca-file", "no certificate",
        ),
        (
            "[sources.x]\nurl='https://h.example/'\nclient-cert='nowhere'",
            3, "sources.x.client-cert", "cannot be read",
        ),
        (
            "[sources.x]\nurl='https://h.example/'\nclient-key='file'",
            3, "sources.x.client-key", "no client-cert",
        ),
        (
            "[sources.x]\nurl='https://h.example/'\nproxy='socks5://p:1'",
            3, "sources.x.proxy", "SOCKS",
        ),
        (
            f"{SOURCES}[sources.c]\nurl = 'https://B.example:443/x/../simple'",
            6, "sources.c.url", "same as that of sources.b",
        ),
        (f"{SOURCES}[sources.c]\npath = './packages/'", 6, "sources.c.path", "sources.a"),
        (
            f"forbidden-means-absent = ['bb']\n{SOURCES}",
            1, "forbidden-means-absent[1]", "no source",
        ),
        # --- indexes
        (f"{SOURCES}[indexes.m]\nsources=['m']", 6, "indexes.m.sources[1]", "include itself"),
        (
            f"{SOURCES}[indexes.m]\ndefault=true\n[indexes.n]\nsources=['m']",
            8, "indexes.n.sources[1]", "is an index",
        ),
        (f"{SOURCES}[indexes.m]\nsources=['a',\n'bb']", 7, "indexes.m.sources[2]", "did you mean"),
        (f"{SOURCES}[indexes.m]\nsources=['a', 'a']", 6, "indexes.m.sources[2]", "twice"),
        (f"{SOURCES}[indexes.m]\nsources=[]", 6, "indexes.m.sources", "empty"),
        (f"{SOURCES}[indexes.simple]", 5, "indexes.simple", "address of the server"),
        (f"{SOURCES}[indexes.Why]", 5, "indexes.Why", "address of the server"),
        (
            f"{SOURCES}[indexes.m]\ndefault=true\n[indexes.n]\ndefault=true",
            8, "indexes.n.default", "'m' is the default already",
        ),
        (f"{SOURCES}[indexes.m]\n[indexes.n]", 5, "indexes.m", "default = true"),
        (f"{SOURCES}[indexes.m]\ndefault=false", 5, "indexes.m", "default = true"),
        (
            f"{SOURCES}[indexes.m]\n[[indexes.m.rules]]\ndeny=['x']\ndefault=true",
            8, "indexes.m.rules[1].default", "key of [indexes.m]",
        ),
        # --- rules
        (RULE, 5, "rules[1]", "exactly one of reserve"),
        (f"{RULE}deny=['a']\nallow=['b']", 5, "rules[1]", "allow and deny"),
        (f"{RULE}min-age='7'", 6, "rules[1].min-age", "has no unit"),
        (f"{RULE}min-age=7", 6, "rules[1].min-age", "has no unit"),
        (f"{RULE}min-age='0 days'", 6, "rules[1].min-age", "hides nothing"),
        (f"{RULE}freeze=2026-08-16", 6, "rules[1].freeze", "in the future"),
        (f"{RULE}freeze=2026-08-15T14:30:00+01:00", 6, "rules[1].freeze", "in the future"),
        (f"{RULE}freeze='soon'", 6, "rules[1].freeze", "not a date"),
        (f"{RULE}freeze=07:00:00", 6, "rules[1].freeze", "must be a date"),
        (f"{RULE}deny=[]", 6, "rules[1].deny", "does nothing"),
        (f"{RULE}deny=['a',\n'']", 7, "rules[1].deny[2]", "empty"),
        (f"{RULE}deny=['a b c']", 6, "rules[1].deny[1]", "PEP 440"),
        (f"{RULE}deny=['a<<1']", 6, "rules[1].deny[1]", "PEP 440"),
        (f"{RULE}deny=['ä']", 6, "rules[1].deny[1]", "not a name or glob"),
        (f"{RULE}deny=['*']", 6, "rules[1].deny[1]"[:13], "hides everything"),
        (f"{RULE}quarantine=['*']", 6, "rules[1].quarantine", "hides everything"),
        (f"{RULE}allow=[]", 6, "rules[1].allow", "hides everything"),
        (f"{RULE}allow=['*']", 6, "rules[1].allow", "does nothing"),
        (f"{RULE}deny=['a']\nexcept=['A']", 7, "rules[1].except", "does nothing"),
        (f"{RULE}only='wheels'\nexcept=['*']", 7, "rules[1].except", "does nothing"),
        (f"{RULE}only='wheels'\nprojects=[]", 7, "rules[1].projects", "empty"),
        (f"{RULE}only='wheel'", 6, "rules[1].only", "'wheels' or 'sdists'"),
        (f"{RULE}only='wheels'\nkinds=['wheels']", 7, "rules[1].kinds[1]", "'wheel', 'sdist'"),
        (f"{RULE}only='wheels'\nplatforms=['']", 7, "rules[1].platforms", "empty"),
        (
            f"{RULE}only='wheels'\nlarger-than='2MB'\nsmaller-than='1MB'",
            8, "rules[1].smaller-than", "no file",
        ),
        (f"{RULE}reserve=['x']", 5, "rules[1]", 'add the key "for"'),
        (f"{RULE}reserve=['x']\nfor='c'", 7, "rules[1].for", "the sources are a, b"),
        (f"{RULE}reserve=['x<2']\nfor='a'", 6, "rules[1].reserve[1]", "whole projects"),
        (f"{RULE}reserve=['*']\nfor='a'", 6, "rules[1].reserve", "reserves every name"),
        (f"{RULE}reserve=['x']\nfor='a'\nkinds=['egg']", 8, "rules[1].kinds", "remove it"),
        (
            f"{SOURCES}[indexes.m]\nsources=['b']\n[[indexes.m.rules]]\nreserve=['x']\nfor='a'",
            9, "indexes.m.rules[1].for", "there is no source 'a' here",
        ),
        (f"{RULE}deny=['x']\nundated='allow'", 7, "rules[1].undated", "key of min-age, freeze"),
        (f"{RULE}deny=['x']\nfor='a'", 7, "rules[1].for", "key of reserve"),
        (f"{RULE}status='archived'", 5, "rules[1]", '"projects"'),
        (f"{RULE}status='archived'\nprojects=['x<1']", 7, "rules[1].projects[1]", "whole projects"),
        (f"{RULE}yank-file='nowhere'", 6, "rules[1].yank-file", "not an existing file"),
        (f"{RULE}advisories='all'", 6, "rules[1].advisories", "[advisories] osv"),
        (f"{RULE}min-age='1 day'\nfast-lane=true", 7, "rules[1].fast-lane", "[advisories] osv"),
        (f"{RULE}deni=['x']", 6, "rules[1].deni", "did you mean 'deny'?"),
        (f"{SOURCES}[rules]\ndeny=['x']", 5, "rules", "[[rules]]"),
        (
            "[sources.a]\npath='packages'\n[[sources.a.rules]]\nreserve=['x']\nfor='a'",
            4, "sources.a.rules[1].reserve", "move the rule",
        ),
        # --- contradictions
        (f"{RULE}allow=['a','x']\n[[rules]]\ndeny=['X']", 8, "rules[2].deny[1]", "allowed by"),
        (
            f"{RULE}reserve=['x']\nfor='a'\n[[rules]]\nreserve=['x']\nfor='b'",
            9, "rules[2].reserve[1]", "reserved for 'a'",
        ),
        (
            f"{RULE}reserve=['x-*']\nfor='a'\n[[rules]]\nreserve=['x-y']\nfor='b'",
            9, "rules[2].reserve[1]", "by 'x-*'",
        ),
        (f"{RULE}freeze=1970-01-01", 6, "rules[1].freeze", "hides everything"),
        (f"{RULE}only='wheels'\n[[rules]]\nonly='sdists'", 8, "rules[2].only", "hides every file"),
        (
            f"{RULE}freeze=2026-08-01\n[[rules]]\nfreeze=2026-07-01",
            8, "rules[2].freeze", "only the stricter one counts",
        ),
        (
            f"{RULE}only='wheels'\n[indexes.m]\n[[indexes.m.rules]]\nonly='sdists'",
            9, "indexes.m.rules[1].only", "hides every file",
        ),
        # --- advisories and audit
        ("[advisories]\nosv='nowhere'", 2, "advisories.osv", "does not exist"),
        ("[advisories]", 1, "advisories.osv", "missing"),
        ("[audit]\nfile='nowhere/audit.jsonl'", 2, "audit.file", "does not exist"),
        ("[audit]\nfile='osv'", 2, "audit.file", "is a directory"),
        ("[audit]\nfilee='x'", 2, "audit.filee", "did you mean 'file'?"),
        # --- syntax
        ("port = \n", 1, "", "not valid TOML"),
        ("a = 1\n[b\n", 2, "", "not valid TOML"),
        ("port = 1\nport = 2\n", 2, "port", "a second time (first: line 1)"),
        ("[sources.a]\npath='packages'\n[sources.a]\npath='osv'", 3, "sources.a", "second time"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_line_and_a_remedy(
    tmp_path: Path, text: str, line: int, key: str, says: str
) -> None:
    """A file with one mistake gives exactly that one, with its line, key and remedy."""
    found = mistakes(tmp_path, text)
    assert [(one[0], one[1]) for one in found] == [(line, key)], found
    assert says in found[0][2]
    assert "\n" not in found[0][2]


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    """Mistakes of syntax, types and meaning are reported together, in the order of the file."""
    text = """\
prot = 1
port = "x"
[sources.a]
path = "nowhere"
[sources.a]
path = "packages"
[sources.b]
url = "https://b.example/${UNSET}"
colour = 1
[[rules]]
min-age = "7"
[[rules]]
deny = [
  "fine",
  "",
  "a b",
]
[indexes.main]
sources = ["a", "c"]
[advisories]
osv = "nowhere"
"""
    found = [(line, key) for line, key, _ in mistakes(tmp_path, text)]
    assert found == [
        (1, "prot"),
        (2, "port"),
        (4, "sources.a.path"),
        (5, "sources.a"),
        (8, "sources.b.url"),
        (9, "sources.b.colour"),
        (11, "rules[1].min-age"),
        (15, "rules[2].deny[2]"),
        (16, "rules[2].deny[3]"),
        (19, "indexes.main.sources[2]"),
        (21, "advisories.osv"),
    ]


def test_mistakes_are_lines_of_file_line_key_and_remedy(tmp_path: Path) -> None:
    """The text of the error has a line `FILE:LINE: KEY: what; remedy` for each mistake."""
    path = write(tmp_path, "port = 70000\nworkers = 0\n")
    with pytest.raises(Mistakes) as caught:
        read_config(path, environment=ENVIRONMENT)
    assert str(caught.value) == (
        f"{path}:1: port: 70000 is too large; write 65535 or less\n"
        f"{path}:2: workers: 0 is too small; write 1 or more"
    )


@pytest.mark.parametrize(
    "text",
    [
        # What is only tried out may contradict what holds.
        "only='wheels'\n[[rules]]\nonly='sdists'\ndry-run=true",
        "min-age='7 days'\n[[rules]]\nmin-age='14 days'\ndry-run=true",
        # Other files, or other versions.
        "only='wheels'\nprojects=['a']\n[[rules]]\nonly='sdists'\nprojects=['b']",
        "allow=['requests']\n[[rules]]\ndeny=['requests<2']",
        "min-age='7 days'\n[[rules]]\nmin-age='14 days'\nprojects=['django*']",
        "deny=['*']\nlarger-than='1GB'",
        "freeze=2026-08-15",
        "freeze='2026-08-01T12:00:00'",
        "reserve=['x']\nfor='a'\nreason='ours'",
    ],
)
def test_what_is_no_contradiction_is_accepted(tmp_path: Path, text: str) -> None:
    """Rules that differ in scope, and rules that are tried out, are no mistakes."""
    assert mistakes(tmp_path, f"{RULE}{text}") == []


def test_secrets_that_others_can_read_are_mistakes(tmp_path: Path) -> None:
    """A password file, or a file with a password in it, must be its owner's alone."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o640)
    text = "[sources.x]\nurl='https://h.example/'\nuser='u'\n"
    found = mistakes(tmp_path, f"{text}password-file='secret'")
    assert [one[:2] for one in found] == [(4, "sources.x.password-file")]
    assert f"chmod 600 {secret}" in found[0][2]
    secret.chmod(0o600)
    assert mistakes(tmp_path, f"{text}password-file='secret'") == []
    path = write(tmp_path, f"{text}password='hunter2'")
    path.chmod(0o644)
    with pytest.raises(Mistakes, match="written out") as caught:
        read_config(path, environment=ENVIRONMENT)
    assert "hunter2" not in str(caught.value)
    path = write(tmp_path, "[sources.x]\nurl='https://u:hunter2@h.example/'")
    path.chmod(0o644)
    with pytest.raises(Mistakes, match="written out"):
        read_config(path, environment=ENVIRONMENT)


@pytest.mark.parametrize("content", ["", "\n", "two\nlines\n", "\xff"])
def test_a_password_file_has_one_line(tmp_path: Path, content: str) -> None:
    """Anything else than one line of text is a mistake that quotes nothing of it."""
    secret = tmp_path / "secret"
    secret.write_bytes(content.encode("latin-1"))
    secret.chmod(0o600)
    text = "[sources.x]\nurl='https://h.example/'\nuser='u'\npassword-file='secret'"
    found = mistakes(tmp_path, text)
    assert [one[:2] for one in found] == [(4, "sources.x.password-file")]
    assert "two" not in found[0][2]


def test_what_the_check_of_advisories_finds_is_reported(tmp_path: Path) -> None:
    """The sentences about the folder of advisories stand at its key."""
    found = mistakes(tmp_path, "[advisories]\nosv='osv'", lambda path: [f"{path.name} is odd"])
    assert found == [(2, "advisories.osv", "osv is odd")]


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), (b"a = '\xff'", "UTF-8"), (b"a = " + b"[" * 5000, "nested too deep")],
)
def test_a_file_that_cannot_be_read_is_one_mistake(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    """A missing file, and one that is no text or absurd, is one line."""
    path = tmp_path / "srs.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Mistakes) as caught:
        read_config(path, environment={})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
