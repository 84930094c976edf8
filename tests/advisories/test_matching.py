"""Which versions an advisory affects: the evaluation of the OSV schema, for PyPI."""

import random
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from simple_repository_server.advisories.records import Advisory, Event
from tests.advisories.osv import advisory, affected, matching, range_of

INTRODUCED_0 = "introduced 0"


def _affects(found: Advisory, version: str) -> bool:
    return bool(matching(found).affecting(Version(version)))


@pytest.mark.parametrize(
    ("events", "yes", "no"),
    [
        # The examples of the schema.
        pytest.param([INTRODUCED_0], "0.dev0 0 1.0 99!1", "", id="unfixed"),
        pytest.param([INTRODUCED_0, "fixed 1.0.2"], "0.dev0 1.0.1 1.0.2rc1", "1.0.2 2", id="fixed"),
        pytest.param(
            ["introduced 1.0.0", "fixed 1.0.2", "introduced 3.0.0", "fixed 3.2.5"],
            "1.0 1.0.1 3.0.0 3.2.4",
            "0.9 1.0.2 2.9 3.2.5 4",
            id="two ranges in one",
        ),
        pytest.param(
            [INTRODUCED_0, "last_affected 2.1.214"], "1 2.1.214", "2.1.215 2.1.214.post1",
            id="last affected",
        ),
        pytest.param(["introduced 1", "limit 2"], "1 1.9", "0.9 2 3", id="limit"),
        pytest.param(
            ["introduced 1", "limit 2", "limit 3"], "1 2.5", "3", id="the last limit counts"
        ),
        pytest.param(["introduced 1", "limit *"], "1 99", "0.9", id="no limit"),
        # PEP 440 and not text, nor semantic versions.
        pytest.param(["introduced 1.9", "fixed 1.10"], "1.9 1.9.9", "1.10 1.1", id="numbers"),
        pytest.param(["introduced 1.0", "fixed 2.0"], "1.0.0 2.0rc1 2.0.dev1", "1.0rc1 2.0.0.0",
                     id="pre-releases"),
        pytest.param(["introduced 1!1", "fixed 1!2"], "1!1.5", "1.5 2!1.5", id="epochs"),
        pytest.param(["introduced 1.0.post1", "fixed 1.0.post3"], "1.0.post2", "1.0 1.0.post3",
                     id="post-releases"),
        # What records get wrong.
        pytest.param(["introduced 1", "last_affected 1"], "1", "0.9 1.0.1", id="one version"),
        pytest.param(["introduced 1", "fixed 1"], "", "0.9 1 2", id="fixed at once"),
        pytest.param([INTRODUCED_0, "fixed 1", "introduced 1", "fixed 2"], "0.5 1 1.5", "2",
                     id="adjacent"),
        pytest.param(["fixed 2"], "1", "2", id="nothing introduced"),
        pytest.param(["introduced nonsense!", "fixed 2"], "0.1 1", "2", id="introduced unknown"),
        pytest.param(["introduced 1", "fixed nonsense!"], "1 99", "0.9", id="fixed unknown"),
        pytest.param(["introduced 1", "limit nonsense!"], "1 99", "0.9", id="limit unknown"),
        pytest.param([], "1", "", id="no event"),
    ],
)  # fmt: skip
def test_a_range(events: list[str], yes: str, no: str) -> None:
    """A range affects the versions that the algorithm of the schema says, in the order of PEP 440.

    The order in which events at different versions are written does not matter.
    """
    found = advisory(affected("foo", events))
    shuffled = [*events]
    random.Random(1).shuffle(shuffled)
    together = {text.split()[-1] for text in events}
    for one in (
        found,
        advisory(affected("foo", shuffled)) if len(together) == len(events) else found,
    ):
        assert [version for version in yes.split() if not _affects(one, version)] == []
        assert [version for version in no.split() if _affects(one, version)] == []


@pytest.mark.parametrize(
    ("entry", "yes", "no"),
    [
        pytest.param(affected(versions=["1.0", "2.0rc1"]), "1 1.0.0 2.0rc1 2.0c1", "1.1 2.0",
                     id="listed"),
        pytest.param(affected("foo", [INTRODUCED_0, "fixed 1"], versions=["3.0"]), "0.9 3", "1 2",
                     id="listed or in a range"),
        pytest.param(affected("foo", ["introduced 1", "fixed 2"], ["introduced 3", "fixed 4"]),
                     "1 3", "2 4", id="two ranges"),
        pytest.param(affected(), "", "0.dev0 1 99", id="neither: none"),
        pytest.param(affected(versions=[]), "", "1", id="an empty list: none"),
        pytest.param({**affected(versions=["1"]), "ranges": [range_of(INTRODUCED_0, kind="GIT")]},
                     "1", "2", id="commits do not count"),
        pytest.param({**affected(), "ranges": [range_of(INTRODUCED_0, kind="GIT")]},
                     "", "1", id="only commits: none"),
        pytest.param(
            {**affected(),
             "ranges": [range_of("introduced 1.0.0-rc.1", "fixed 1.10.0", kind="SEMVER")]},
            "1.0rc1 1.9", "1.0b1 1.10", id="semantic versions in the order of PEP 440",
        ),
    ],
)  # fmt: skip
def test_an_entry(entry: dict[str, Any], yes: str, no: str) -> None:
    """A version is affected if it is listed, however it is spelt, or lies in one of the ranges."""
    found = advisory(entry)
    assert [version for version in yes.split() if not _affects(found, version)] == []
    assert [version for version in no.split() if _affects(found, version)] == []


@pytest.mark.parametrize(
    "entry",
    [
        affected(),
        affected(versions=[]),
        {**affected(), "ranges": [range_of(INTRODUCED_0, kind="GIT")]},
    ],
)
@pytest.mark.parametrize("fields", [{"number": "MAL-1"}, {"aliases": ["MAL-1"]}])
def test_a_malicious_package_without_versions(
    entry: dict[str, Any], fields: dict[str, Any]
) -> None:
    """A record of the database of malicious packages that names no version affects all of them."""
    found = matching(advisory(entry, **fields))
    assert all(found.affecting(Version(version)) for version in ("0.dev0", "1", "99"))
    assert found.affecting(None, "odd")


def test_a_withdrawn_malicious_record_without_versions() -> None:
    """An alias of a withdrawn malicious record makes nothing malicious, or affected."""
    gone = advisory(affected(), number="MAL-1", withdrawn="2026-01-01T00:00:00Z")
    found = matching(advisory(affected(), number="GHSA-1", aliases=["MAL-1"]), gone)
    assert not found.affecting(Version("1"))
    assert not found.affecting(None, None)


def test_a_record_of_which_only_an_entry_names_versions() -> None:
    """An entry without versions adds nothing to another one, unless the record is malicious."""
    entries = affected(versions=["1"]), affected()
    assert not _affects(advisory(*entries), "2")
    assert _affects(advisory(*entries, number="MAL-1"), "2")


def test_two_entries_about_one_project() -> None:
    """All entries about a project count."""
    found = advisory(affected("Foo", ["introduced 1", "fixed 2"]), affected("foo", versions=["5"]))
    assert [_affects(found, version) for version in ("1", "2", "5")] == [True, False, True]


@pytest.mark.parametrize(
    ("events", "version", "is_affected"),
    [
        ([INTRODUCED_0, "last_affected 2.5.1"], "2.5.1+cu124", True),
        ([INTRODUCED_0, "fixed 2.5.1"], "2.5.1+cu124", False),
        ([INTRODUCED_0, "fixed 2.6"], "2.5.1+cu124", True),
        ([INTRODUCED_0, "fixed 2.5.1+sec2"], "2.5.1", True),
        ([INTRODUCED_0, "fixed 2.5.1+sec2"], "2.5.1+sec1", True),
        ([INTRODUCED_0, "fixed 2.5.1+sec2"], "2.5.1+sec2", False),
        ([INTRODUCED_0, "fixed 2.5.1+sec2"], "2.5.1+sec3", False),
    ],
)
def test_local_labels(events: list[str], version: str, is_affected: bool) -> None:
    """A local label does not make a version another one, unless the record itself names labels."""
    assert _affects(advisory(affected("foo", events)), version) is is_affected
    assert _affects(advisory(affected(versions=["2.5.1"])), "2.5.1+cu124")


def test_versions_that_are_none() -> None:
    """A version that PEP 440 does not know is compared as text, and is in every range."""
    listed = matching(advisory(affected(versions=["2004d-odd", "1.0"])))
    in_range = matching(advisory(affected("foo", ["introduced 1", "fixed 2"])))
    assert listed.affecting(None, "2004d-odd")
    assert not listed.affecting(None, "2004d-ODD")
    assert listed.affecting(None, None)
    assert in_range.affecting(None, "2004d-odd")
    assert not matching().affecting(None, None)


def test_a_withdrawn_record_does_not_count() -> None:
    """A withdrawn record affects nothing, and what it fixed is no fix."""
    entry = affected("foo", [INTRODUCED_0, "fixed 2"])
    found = matching(advisory(entry, withdrawn="2026-02-01T00:00:00Z"))
    assert not found.all
    assert not found.fixes(Version("2"))


@pytest.mark.parametrize("turned", [False, True])
def test_two_records_with_one_id(turned: bool) -> None:
    """The one that was modified last counts, also if it was withdrawn by that."""
    old = advisory(affected(versions=["1"]))
    new = advisory(affected(versions=["2"]), modified="2026-01-02T00:00:00Z")
    gone = advisory(
        affected(versions=["2"]), modified="2026-01-03T00:00:00Z", withdrawn="2026-01-03T00:00:00Z"
    )
    found = matching(*((new, old) if turned else (old, new)))
    assert not found.affecting(Version("1"))
    assert found.affecting(Version("2"))
    assert not matching(gone, old, new).all


def test_names_are_symmetric_and_transitive() -> None:
    """Records that share a name are about the same vulnerability."""
    first = advisory(affected(versions=["1"]), number="GHSA-1", aliases=["CVE-1"])
    second = advisory(affected(versions=["1"]), number="PYSEC-1", aliases=["CVE-1", "X-1"])
    other = advisory(affected(versions=["1"]), number="PYSEC-2", aliases=["CVE-2"])
    found = {one.advisory.id: one.names for one in matching(first, second, other).all}
    assert found["GHSA-1"] == found["PYSEC-1"] == {"GHSA-1", "PYSEC-1", "CVE-1", "X-1"}
    assert found["PYSEC-2"] == {"PYSEC-2", "CVE-2"}


@pytest.mark.parametrize(
    ("records", "malicious"),
    [
        ([advisory(affected(), number="MAL-2026-1")], ["MAL-2026-1"]),
        ([advisory(affected(), number="GHSA-1", aliases=["MAL-2026-1"])], ["GHSA-1"]),
        ([advisory(affected(), number="GHSA-1", aliases=["NORMAL-1"])], []),
        (
            [
                advisory(affected(versions=["1"]), number="GHSA-1"),
                advisory(affected(), number="MAL-1", aliases=["GHSA-1"]),
            ],
            ["GHSA-1", "MAL-1"],
        ),
        (
            [
                advisory(affected(), number="GHSA-1", aliases=["MAL-1"]),
                advisory(affected(), number="MAL-1", withdrawn="2026-01-01T00:00:00Z"),
            ],
            [],
        ),
    ],
)
def test_what_is_malicious(records: list[Advisory], malicious: list[str]) -> None:
    """An id or alias of the database of malicious packages says so, unless it was withdrawn."""
    found = matching(*records).all
    assert [one.advisory.id for one in found if one.malicious] == malicious


def test_what_fixes() -> None:
    """A version that is named as fixed, however it is spelt, fixes; others do not."""
    found = matching(
        advisory(affected("foo", [INTRODUCED_0, "fixed 2.6.2", "introduced 3", "fixed 3.1"])),
        advisory(affected("foo", [INTRODUCED_0, "last_affected 5.0", "limit 6"]), number="P-2"),
        advisory(affected("foo", ["introduced 6.5", "fixed 7"]), number="MAL-1"),
        advisory(affected("foo", versions=["3.1"]), number="MAL-2"),
    )
    fixing = ("2.6.2", "2.6.2.0", "2.6.2+cu124", "2.6.3", "2.6.2rc1", "5.0", "6", "7", "3.1")
    assert [version for version in fixing if found.fixes(Version(version))] == [
        "2.6.2", "2.6.2.0", "2.6.2+cu124",
    ]  # fmt: skip


def test_a_fix_that_its_own_record_lists_as_affected() -> None:
    """A version that a record affects is no fix of it, although the record names it as fixed."""
    found = matching(
        advisory(affected("foo", [INTRODUCED_0, "fixed 1.2"], [INTRODUCED_0, "fixed 2.3"])),
        advisory(affected("foo", ["introduced 3", "fixed 3.1"], versions=["3.1"]), number="P-2"),
        advisory(affected("foo", [INTRODUCED_0, "fixed 5"]), number="P-3"),
    )
    assert [text for text in ("1.2", "2.3", "3.1", "5") if found.fixes(Version(text))] == [
        "2.3", "5",
    ]  # fmt: skip
    (first,) = [one for one in found.all if one.advisory.id == "PYSEC-2026-1"]
    assert str(first.fixed_after(Version("1.1"))) == "2.3"


def test_a_fix_of_another_line() -> None:
    """A fix of an older line makes no version of a newer one a fix, nor a later one of its own."""
    events = ["introduced 1", "fixed 1.9.5", "introduced 2.0rc1", "fixed 2.0rc3"]
    found = matching(advisory(affected("foo", events)))
    tried = ("1.9.5", "1.9.6", "2.0", "2.0rc3", "2.0rc2", "2.1", "1.9.5.post1", "1!1.9.5")
    assert [text for text in tried if found.fixes(Version(text))] == ["1.9.5", "2.0rc3"]


def test_the_first_later_fix_is_named() -> None:
    """Of several fixed versions the first one after the version in question is the remedy."""
    found = matching(advisory(affected("foo", ["introduced 0", "fixed 2.10", "fixed 2.9"])))
    assert str(found.all[0].fixed_after(Version("2.1"))) == "2.9"
    assert str(found.all[0].fixed_after(Version("2.9"))) == "2.10"
    assert found.all[0].fixed_after(Version("3")) is None


def test_hundreds_of_records_about_one_project() -> None:
    """They take little memory, although each lists the same hundreds of versions."""
    versions = [f"{a}.{b}.{c}" for a in range(3) for b in range(20) for c in range(4)]
    entry = affected("foo", [INTRODUCED_0, "fixed 2.1.1"], versions=versions)
    found = matching(*(advisory(entry, number=f"P-{number}") for number in range(800)))
    assert len(found.affecting(Version("1.5.2"))) == 800
    assert found.weight < 4_000_000


def test_malicious_ones_come_first() -> None:
    """Of several advisories the worst is named first, then by id."""
    entry = affected(versions=["1"])
    records = [advisory(entry, number=number) for number in ("B-1", "MAL-1", "A-1")]
    for order in permutations(records):
        found = matching(*order).affecting(Version("1"))
        assert [one.advisory.id for one in found] == ["MAL-1", "A-1", "B-1"]


_VERSIONS = ["0", "0.1", "1.0rc1", "1.0", "1.0.post1", "1.1", "2.0.dev1", "2.0", "10.0"]
_events = st.lists(
    st.tuples(
        st.sampled_from(["introduced", "fixed", "last_affected", "limit"]),
        st.sampled_from(_VERSIONS),
    ),
    min_size=1,
    max_size=7,
    unique_by=lambda event: event[1],
)


@given(st.lists(st.lists(_events, max_size=3), min_size=1, max_size=3), st.randoms())
def test_as_the_pseudocode_of_the_schema(
    records: list[list[list[tuple[str, str]]]], rng: random.Random
) -> None:
    """Bisection among all versions answers as the schema's algorithm does, whatever the order."""
    advisories = []
    for number, ranges in enumerate(records):
        valid = [[("introduced", "0"), *one] for one in ranges]
        for one in valid:
            rng.shuffle(one)
        advisories.append(
            Advisory(
                id=f"A-{number}",
                ranges=tuple(tuple(Event(**{k: v}) for k, v in one) for one in valid),
            )
        )
    found = matching(*advisories)
    for text in [*_VERSIONS, "0.dev0", "0.5", "1.0.dev1", "1.5", "11"]:
        expected = [one.id for one in advisories if _as_specified(Version(text), one)]
        assert [one.advisory.id for one in found.affecting(Version(text))] == expected


def _as_specified(version: Version, found: Advisory) -> bool:
    """`IncludedInRanges` and `BeforeLimits`, word by word."""
    for events in found.ranges:
        limits = [event.limit for event in events if event.limit is not None]
        if limits and not any(version < Version(limit) for limit in limits):
            continue
        vulnerable = False
        for event in sorted(events, key=_event_key):
            if event.introduced is not None:
                if event.introduced == "0" or version >= Version(event.introduced):
                    vulnerable = True
            elif event.fixed is not None:
                if version >= Version(event.fixed):
                    vulnerable = False
            elif event.last_affected is not None and version > Version(event.last_affected):
                vulnerable = False
        if vulnerable:
            return True
    return False


def _event_key(event: Event) -> tuple[int, Version, int]:
    text = event.introduced or event.fixed or event.last_affected or event.limit or ""
    first = event.introduced == "0"
    return (0 if first else 1), Version(text), (1 if event.last_affected is not None else 0)
