"""Decisions about hosts and proxies, as tables."""

import re
import shlex

import pytest

from simple_repository_server.web.hosts import HostRule
from simple_repository_server.web.server.forwarded import NOBODY, TrustedProxies, without_forwarded
from simple_repository_server.web.usage import install_lines, settings, untrusted_host

RULE = HostRule(["index.example", "*.inner.example", "Machine."])


@pytest.mark.parametrize(
    "host",
    ["", "localhost", "LOCALHOST:8000", "a.b.localhost", "127.0.0.1", "127.0.0.1:8000", "[::1]",
     "[::1]:8000", "192.0.2.1", "localhost.", "index.example", "index.example.:80", "machine",
     "a.inner.example"],
)  # fmt: skip
def test_a_host_that_is_answered(host: str) -> None:
    """Addresses, `localhost` and the names that were given, in any case and with any port."""
    assert RULE.allows(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "xindex.example", "index.example.evil", "inner.example", "xlocalhost",
     "localhost.evil", "127.0.0.1.evil.example", "evil@localhost", "localhost/evil", "[::1",
     "localhost:evil", "::1", "a b", "127.0.0.1:80:80", "[localhost]x", "0x7f.1", "\xff"],
)  # fmt: skip
def test_a_host_that_is_refused(host: str) -> None:
    """Anything else, what is no host at all, and addresses only a resolver understands."""
    assert not RULE.allows(host)


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded_for", "client"),
    [
        (["10.0.0.1"], "10.0.0.1", "203.0.113.9", "203.0.113.9"),
        (["10.0.0.1"], "10.0.0.1", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.1", "6.6.6.6,203.0.113.9,10.9.9.9", "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
        (["*"], "10.0.0.1", "6.6.6.6, 203.0.113.9", "6.6.6.6"),
        (["10.0.0.1"], "10.0.0.1", "6.6.6.6, unknown", "10.0.0.1"),
        (["10.0.0.1"], "10.0.0.1", "6.6.6.6, <script>, 10.0.0.1", "10.0.0.1"),
        (["10.0.0.1"], "10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        (["10.0.0.1"], "10.0.0.1", "[2001:db8::9]:4711", "2001:db8::9"),
        (["10.0.0.1"], "10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_the_client_behind_proxies(
    trusted: list[str], peer: str, forwarded_for: str, client: str
) -> None:
    """It is the last one that no trusted proxy is: those before it may be made up."""
    assert TrustedProxies(trusted).client_of(forwarded_for, peer) == client


@pytest.mark.parametrize(
    ("trusted", "peer", "is_trusted"),
    [
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "::ffff:127.0.0.1", True),
        (["2001:db8::/32"], "2001:db8::7", True),
        ([" 10.0.0.1/8 "], "10.200.0.1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["127.0.0.1"], "", False),
        (["*"], "", True),
        ([], "127.0.0.1", False),
        ([""], "127.0.0.1", False),
    ],
)
def test_who_is_trusted(trusted: list[str], peer: str, is_trusted: bool) -> None:
    """Addresses and networks, of IPv4 also where they came in by IPv6; without any nobody."""
    assert TrustedProxies(trusted).trusts(peer) is is_trusted


def test_what_is_no_proxy_is_refused() -> None:
    """A name is no address: nothing would ever be trusted."""
    with pytest.raises(ValueError, match=r"proxy\.example"):
        TrustedProxies(["proxy.example"])
    assert not NOBODY.trusts("127.0.0.1")


def test_what_is_not_believed_is_taken_out() -> None:
    """The headers of a proxy go, and all others stay as they are."""
    headers = [(b"host", b"a"), (b"x-forwarded-host", b"b"), (b"x-forwarded-for", b"c")]
    assert without_forwarded(headers) == headers[:1]


@pytest.mark.parametrize(
    ("index", "host"),
    [
        ("http://127.0.0.1:8000/simple/", ""),
        ("http://127.1.2.3/simple/", ""),
        ("http://[::1]:8000/simple/", ""),
        ("http://localhost/simple/", ""),
        ("https://index.example/simple/", ""),
        ("http://index.example:8000/simple/", "index.example"),
        ("http://192.0.2.1/simple/", "192.0.2.1"),
        ("http://[2001:db8::1]:8000/simple/", "[2001:db8::1]"),
    ],
)
def test_whom_installers_have_to_be_told_to_trust(index: str, host: str) -> None:
    """A host that plain http leads to over a network, and no other."""
    assert untrusted_host(index) == host
    lines = "\n".join([*install_lines(index), *(text for _, text in settings(index))])
    assert (f"--trusted-host {shlex.quote(host)}" in lines) is bool(host)
    # uv does not understand addresses of IPv6 there, and does without.
    assert ("--allow-insecure-host" in lines) is bool(host and not host.startswith("["))
    assert ("verify_ssl false" in lines) is bool(host)


@pytest.mark.parametrize("index", ["http://[2001:db8::1]:8000/simple/", "http://[::1]/simple/"])
def test_what_is_copied_is_no_pattern_to_a_shell(index: str) -> None:
    """Each command has the address as one word; the configuration file has it as it is."""
    commands = dict(settings(index))
    assert f"index-url = {index}" in commands.pop("pip, in its pip.conf").splitlines()
    for line in [*install_lines(index), *"\n".join(commands.values()).splitlines()]:
        assert "[" not in re.sub(r"'[^']*'", "", line)
    for line in [*install_lines(index), commands["poetry, in a project"]]:
        assert index in shlex.split(line)
    assert f"UV_DEFAULT_INDEX={index}" in shlex.split(commands["uv, in the environment"])
