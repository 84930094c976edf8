"""JSON and HTML: what is written is read again as it was, and nothing breaks either of them."""

import json as stdlib_json
from html.parser import HTMLParser
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from simple_repository_server.errors import Malformed
from simple_repository_server.model import File, ProjectList, ProjectPage, Status
from simple_repository_server.names import ProjectName, sorted_unique
from simple_repository_server.wire import html, json
from simple_repository_server.wire.parsing import ParsedPage
from tests.strategies import pages, project_names

BASE = "https://index.example/simple/foo/"


def _address(file: File) -> str:
    return file.url


def _address_with_name(file: File) -> str:
    return f"https://files.example/{quote(file.filename, safe='')}"


@given(pages())
def test_json_round_trip(page: ProjectPage) -> None:
    """A page written as JSON is read back as the same page."""
    text = json.write_page(page, file_url=_address)
    _assert_same(json.read_page(text, project=page.name, base=BASE), page)


@given(pages())
def test_html_round_trip(page: ProjectPage) -> None:
    """A page written as HTML is read back with everything but the list of versions."""
    text = html.write_page(page, file_url=_address_with_name)
    read = html.read_page(text, project=page.name, base=BASE).page
    assert read.status == page.status
    assert len(read.files) == len(page.files)
    for there, here in zip(read.files, page.files, strict=True):
        provenance = here.provenance
        expected = msgspec.structs.replace(here, url=_address_with_name(here))
        assert there == msgspec.structs.replace(expected, provenance=provenance)


@given(pages())
def test_html_is_one_anchor_a_file_for_any_parser(page: ProjectPage) -> None:
    """Another HTML parser sees one anchor per file, its text the file name: no markup gets in."""
    seen = _Anchors()
    seen.feed(html.write_page(page, file_url=_address_with_name).decode())
    assert seen.texts == [file.filename for file in page.files]
    assert seen.tags <= {"html", "head", "meta", "title", "body", "h1", "a", "br"}


@given(pages())
def test_json_is_what_the_standards_ask_for(page: ProjectPage) -> None:
    """The rules of API version 1.4 that a client can trip over (PEP 691, 700, 714, 792)."""
    text = json.write_page(page, file_url=_address)
    document = stdlib_json.loads(text)
    assert document["meta"]["api-version"] == "1.4"
    assert document["name"] == page.name
    assert len(document["versions"]) == len(set(document["versions"]))
    status = document.get("project-status", {"status": "active"})
    assert status["status"] in {s.value for s in Status}
    for file in document["files"]:
        assert isinstance(file["size"], int)
        assert "dist-info-metadata" not in file
        assert file["yanked"] not in (None, "")
        assert list(file["hashes"])[:1] in ([], ["sha256"])
        time = file.get("upload-time", "2024-01-01T00:00:00Z")
        assert time.endswith("Z")
        assert len(time.partition(".")[2]) in (0, 7)
        assert None not in file.values()


@settings(deadline=None)
@given(page=pages(), piece=st.integers(1, 2000), indent=st.sampled_from((None, 1)))
def test_page_is_parsed_alike_in_pieces(page: ProjectPage, piece: int, indent: int | None) -> None:
    """Wherever the pieces of a large page end, the result is the same."""
    document = stdlib_json.loads(json.write_page(page, file_url=_address))
    text = stdlib_json.dumps(document, indent=indent).encode()
    _assert_same(json.read_page(text, project=page.name, base=BASE, piece_bytes=piece), page)


@given(text=st.binary(max_size=60) | st.text('{}[]":,abnultrefs0 \n', max_size=40).map(str.encode))
def test_json_that_is_no_object_is_malformed(text: bytes) -> None:
    """Text that is no page is rejected, and nothing but `Malformed` is raised."""
    with pytest.raises(Malformed):
        json.read_page(b"[" + text, project=ProjectName("foo"), base=BASE)


@given(st.binary(max_size=200))
def test_parsing_noise_as_json_raises_only_malformed(noise: bytes) -> None:
    """No bytes make parsing JSON raise anything else."""
    with pytest.raises(Malformed):
        json.read_page(noise, project=ProjectName("foo"), base=BASE)
    with pytest.raises(Malformed):
        json.read_list(noise)


@given(st.text(max_size=200))
def test_parsing_noise_as_html_never_raises(noise: str) -> None:
    """Any text is an HTML page, perhaps one without files."""
    html.read_page(noise.encode(), project=ProjectName("foo"), base=BASE)
    html.read_list(noise.encode())


_anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
_KEYS = (
    "filename", "url", "hashes", "size", "upload-time", "requires-python", "core-metadata",
    "dist-info-metadata", "yanked", "gpg-sig", "provenance",
)  # fmt: skip


@given(
    st.lists(st.dictionaries(st.sampled_from(_KEYS), _anything), max_size=4), _anything, _anything
)
def test_invalid_values_never_invalidate_the_page(
    entries: list[dict[str, object]], versions: object, status: object
) -> None:
    """Whatever values the entries of a page have, its good file is served."""
    good = {"filename": "foo-1.0-py3-none-any.whl", "url": "https://files.example/foo-1.0.whl"}
    page = {
        "meta": {"api-version": "1.0"}, "name": "foo", "files": [*entries, good],
        "versions": versions, "project-status": status,
    }  # fmt: skip
    read = json.read_page(stdlib_json.dumps(page).encode(), project=ProjectName("foo"), base=BASE)
    if read.page.status is None or read.page.status.status is not Status.QUARANTINED:
        assert read.page.find("foo-1.0-py3-none-any.whl") is not None


@given(st.lists(project_names))
def test_lists_round_trip(names: list[ProjectName]) -> None:
    """A list is read back from JSON and from HTML as it was."""
    projects = ProjectList(names=sorted_unique(names))
    assert json.read_list(json.write_list(projects)).names == projects.names
    assert html.read_list(html.write_list(projects)).names == projects.names


@settings(deadline=None)
@given(
    names=st.lists(project_names, max_size=20),
    odd=st.lists(_anything, max_size=3),
    piece=st.integers(1, 400),
    spaces=st.sampled_from((None, 1)),
    meta_last=st.booleans(),
)
def test_json_list_is_parsed_alike_in_pieces(
    names: list[ProjectName],
    odd: list[object],
    piece: int,
    spaces: int | None,
    meta_last: bool,
) -> None:
    """Wherever the pieces end, and whatever is among the names, all of them are parsed."""
    meta = {"meta": {"api-version": "1.4", "_last-serial": 7}}
    entries = [{"_odd": [{"a": odd}, '"},{"'], "name": name} for name in names]
    listed = {"projects": [*entries[:3], *odd, *entries[3:]]}
    members = {**listed, **meta} if meta_last else {**meta, **listed}
    read = json.read_list(stdlib_json.dumps(members, indent=spaces).encode(), piece_bytes=piece)
    assert set(read.names) >= set(names)
    assert read.serial == 7
    at_once = json.read_list(stdlib_json.dumps(members).encode(), piece_bytes=10**9)
    assert read.names == at_once.names


def _assert_same(read: ParsedPage, page: ProjectPage) -> None:
    assert (read.dropped, read.example) == (0, "")
    there = {
        key: getattr(read.page, key) for key in ("name", "files", "versions", "status", "serial")
    }
    assert there == {key: getattr(page, key) for key in there}


class _Anchors(HTMLParser):
    """The standard library's view of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self._inside = False

    @override
    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "a":
            self._inside = True
            self.texts.append("")

    @override
    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "a"

    @override
    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data
