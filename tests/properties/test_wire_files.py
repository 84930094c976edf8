"""The files of a page: checked by columns or one by one, with the same result."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.wire.files import Entry, parse_file, parse_files
from simple_repository_server.wire.parsing import MAX_REASON, MAX_REQUIRES_PYTHON, MAX_URL
from simple_repository_server.wire.urls import are_usual_together, resolver

BASE = "https://index.example/simple/foo/"
USUAL = "https://files.example/packages/ab/foo-1.0.tar.gz"
SHA256 = {"sha256": "0123456789abcdef" * 4}

_digests = st.sampled_from(
    [
        SHA256, None, {}, {"sha256": "A" * 64}, {"sha256": "a" * 63}, {"sha256": None},
        {"sha512": "a" * 128}, {"sha256": "a" * 64, "md5": "b" * 32}, {"foo": "a"},
        {"sha256": "a" * 63 + "\n"}, {"SHA256": "a" * 64}, {"sha256": "é" * 64},
    ]
)  # fmt: skip
_names = st.sampled_from(
    ["foo-1.0.tar.gz", "foo-2.0-py3-none-any.whl", "f" * 255, "ö-1.0.zip"] * 3
    + ["", ".foo.whl", "a/b", "a\\b", "a\nb", "a\x7f", "f" * 256, "\ud800", "a\x00"]
)
_urls = st.sampled_from(
    [USUAL, USUAL.replace("foo", "bar"), USUAL.replace("files", "other"), "../foo.whl"] * 3
    + [f"{USUAL}#sha256=x", f"{USUAL} x", f"{USUAL}\n{USUAL}", "ftp://x/", USUAL + "a" * MAX_URL,
       f"{USUAL}ö", f"{USUAL}<", "https://u:p@files.example/a", "", "\x00"]
)  # fmt: skip
_entries = st.builds(
    Entry,
    filename=_names,
    url=_urls,
    hashes=_digests,
    size=st.sampled_from([None, 0, 1, -1, 10**18 - 1, 10**18]),
    upload_time=st.sampled_from(
        [
            None, datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1),
            datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
        ]
    ),
    requires_python=st.sampled_from([None, "", ">=3.8", "x" * (MAX_REQUIRES_PYTHON + 1)]),
    core_metadata=_digests | st.booleans(),
    dist_info_metadata=_digests | st.booleans(),
    yanked=st.sampled_from([None, False, True, "", "broken", "x" * (MAX_REASON + 1)]),
    gpg_sig=st.sampled_from([None, False, True]),
    provenance=st.sampled_from([None, "", "https://x/", "x" * (MAX_URL + 1)]),
)  # fmt: skip


@given(st.lists(_entries, max_size=6))
def test_columns_give_the_same_files_as_single_entries(entries: list[Entry]) -> None:
    """Whatever the entries hold, parsing them together is parsing each of them."""
    resolve = resolver(BASE)
    assert list(parse_files(entries, resolve)) == [parse_file(e, resolve) for e in entries]


@given(st.lists(_urls | st.text(max_size=20).map(USUAL.__add__), max_size=4))
def test_usual_addresses_are_not_changed_by_the_resolver(urls: list[str]) -> None:
    """Addresses that are usual together are what the resolver makes of them."""
    if are_usual_together(urls):
        assert [resolver(BASE)(url) for url in urls] == urls
