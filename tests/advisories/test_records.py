"""What is taken out of an OSV record, and what is no record."""

from typing import Any

import pytest

from simple_repository_server.advisories.records import Event, ForeignRecord, parse_record
from simple_repository_server.errors import Malformed
from simple_repository_server.names import ProjectName
from tests.advisories.osv import affected, content, range_of, record


def test_a_record() -> None:
    """Names are normalised, other ecosystems ignored, and everything that decides is there."""
    entries = (
        affected("Foo.Bar", ["introduced 1", "fixed 2"], versions=["1.0", "1.1"]),
        affected("foo", versions=["3"]),
        affected("left-pad", versions=["9"], ecosystem="npm"),
    )
    given = record("PYSEC-2026-1", *entries, aliases=["CVE-2026-1", "no id!"], details="x" * 1000)
    found = parse_record(content(given))
    assert set(found) == {"foo-bar", "foo"}
    advisory = found[ProjectName("foo-bar")]
    assert advisory.id == "PYSEC-2026-1"
    assert advisory.aliases == ("CVE-2026-1",)
    assert advisory.versions == ("1.0", "1.1")
    assert advisory.ranges == ((Event(introduced="1"), Event(fixed="2")),)
    assert not advisory.withdrawn
    assert not advisory.unspecific


@pytest.mark.parametrize(
    "given",
    [
        {"id": "PYSEC-1"},
        record("PYSEC-1"),
        record("PYSEC-1", {"package": None, "versions": ["1"]}),
        {**record("PYSEC-1"), "affected": None, "aliases": None, "withdrawn": None},
    ],
)
def test_records_about_nothing(given: dict[str, Any]) -> None:
    """A record may name no package: nothing follows from it."""
    assert parse_record(content(given)) == {}


def test_null_stands_for_nothing() -> None:
    """Lists may be null, as some programs write empty ones."""
    entry = {**affected(), "ranges": None, "versions": None}
    assert parse_record(content(record("X-1", entry)))[ProjectName("foo")].unspecific
    entry = {**affected(versions=["1"]), "ranges": [{"type": "ECOSYSTEM", "events": None}]}
    assert parse_record(content(record("X-1", entry)))[ProjectName("foo")].ranges == ((),)


@pytest.mark.parametrize("ecosystem", ["PyPI", "pypi", "PYPI"])
def test_the_ecosystem_in_any_case(ecosystem: str) -> None:
    """The name of the ecosystem counts in any case."""
    assert parse_record(content(record("X-1", affected(ecosystem=ecosystem))))


def test_another_ecosystem() -> None:
    """A record that is about others only is refused, and names the first of them."""
    entries = affected(ecosystem="npm"), affected(ecosystem="Go")
    with pytest.raises(ForeignRecord, match="about 'npm', not about PyPI"):
        parse_record(content(record("GHSA-1", *entries)))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"", "is not JSON"),
        (b"<html>", "is not JSON"),
        (b'{"id": "X-1"', "is not JSON"),
        (b"[" * 100_000, "is not JSON|no OSV record"),
        (b"[]", "no OSV record"),
        (b"{}", "no OSV record.*`id`"),
        (b'{"id": 5}', "no OSV record"),
        (b'{"id": ""}', "id '' is invalid"),
        (b'{"id": "a\\nb"}', "id .* is invalid"),
        (content(record("X-1", affected("not a name!"))), "'not a name!', which is no project"),
        (content(record("X-1", affected(versions=[1]))), r"no OSV record: .*versions"),  # type: ignore[list-item]
        (content(record("X-1", {**affected(), "ranges": [{"events": []}]})), "`type`"),
        (
            content(record("X-1", {**affected(), "ranges": [range_of("fixed 1"), 7]})),
            "no OSV record",
        ),
        (content(record("X-1", affected(versions=["1"] * 20_001))), "more than 20000 versions"),
        (
            content(record("X-1", affected("foo", ["fixed 1"] * 10_001, versions=["1"] * 10_000))),
            "more than 20000 versions",
        ),
    ],
)
def test_what_is_no_record(given: bytes, reason: str) -> None:
    """Anything else is refused with a reason."""
    with pytest.raises(Malformed, match=reason):
        parse_record(given)
