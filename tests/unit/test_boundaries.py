"""Edges of pure functions that only mutation testing showed to be untested; see docs/testing.md."""

import errno

import pytest

from simple_repository_server.disk.allowance import OverBudget
from simple_repository_server.distributions.filenames import (
    parse_distribution,
    parse_version,
    version_of,
)
from simple_repository_server.errors import NotAcceptable, ProjectNotFound, SourceUnavailable
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.sizes import parse_size
from simple_repository_server.upstream.breaker import Breaker, Failure
from simple_repository_server.upstream.private_addresses import (
    PrivateAddress,
    Zone,
    zone_of_name,
    zone_of_source,
)
from simple_repository_server.web.problems import problem_of


def test_an_egg_needs_no_python_tag() -> None:
    """The shortest egg name is a project and a version."""
    found = parse_distribution("foo-1.0.egg")
    assert found is not None
    assert (found.project, found.version) == ("foo", "1.0")


def test_version_of_the_shortest_names() -> None:
    """The suffix is not part of the version, where nothing stands between them."""
    assert version_of("foo-1.0.egg", ProjectName("foo")) == "1.0"
    assert version_of("foo-1.0.whl", ProjectName("foo")) == "1.0"


def test_underscores_in_a_version_are_dashes() -> None:
    """Old tools wrote `_` for `-` in file names: `1.0_1` is the post-release `1.0-1`."""
    assert parse_version("1.0_1") == parse_version("1.0.post1")


def test_the_largest_size_is_accepted() -> None:
    """The bound is part of what is allowed."""
    assert parse_size(str(2**60)) == 2**60
    with pytest.raises(ValueError, match="larger than any disk"):
        parse_size(str(2**60 + 1))


@pytest.mark.parametrize("by_eviction", [False, True])
def test_over_budget_is_an_error_of_the_operating_system(*, by_eviction: bool) -> None:
    """It is "disk quota exceeded" for all that handle `OSError`, with its reason."""
    error = OverBudget("it is too large", by_eviction=by_eviction)
    assert (error.errno, error.strerror) == (errno.EDQUOT, "it is too large")
    assert error.by_eviction is by_eviction
    assert OverBudget("it is too large").by_eviction is False


def test_a_breaker_names_the_status_that_opened_it() -> None:
    """A refused client learns which address answered what."""
    breaker = Breaker()
    for page in "abc":
        breaker = breaker.answered(f"https://x.example/{page}", 503, now=1.0, chance=0.0)
    assert breaker.is_open
    assert breaker.failure == Failure(
        url="https://x.example/c", reason="it answers with status 503"
    )


def test_zones_without_a_usual_address() -> None:
    """A source without addresses is public; names may end with a dot, addresses have a scope."""
    assert zone_of_source([]) is Zone.PUBLIC
    assert zone_of_source(["::%lo"]) is Zone.LOOPBACK
    assert zone_of_name("localhost.") is Zone.LOOPBACK
    assert zone_of_name("XX.") is None


@pytest.mark.parametrize(
    "error",
    [
        ProjectNotFound("foo"),
        NotAcceptable("image/png", ("text/html",)),
        SourceUnavailable("https://x.example/", "no connection"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_problems_show_the_text_of_the_error(error: Exception) -> None:
    """Clients read what the error says."""
    assert problem_of(error).detail == str(error)


@pytest.mark.parametrize("host", ["[::1]", "::1", "127.0.0.1", "localhost", "::1%lo"])
def test_literals_are_read_with_brackets_and_scope(host: str) -> None:
    """An address is the same in brackets and with a scope."""
    assert zone_of_name(host) is Zone.LOOPBACK


@pytest.mark.parametrize("host", ["127.1.", "2130706433.", "0x7f.1", "::1::"])
def test_odd_notations_are_refused(host: str) -> None:
    """Other ways to write an address are refused, also with a dot at the end."""
    with pytest.raises(PrivateAddress):
        zone_of_name(host)
