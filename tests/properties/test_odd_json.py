"""JSON pages and lists with what no JSON should have: it costs what it stands in, and no more."""

import json as stdlib_json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simple_repository_server.errors import Malformed
from simple_repository_server.model import ProjectPage, Status
from simple_repository_server.names import ProjectName
from simple_repository_server.wire import json, pages
from simple_repository_server.wire.parsing import (
    MAX_FILES,
    MAX_REASON,
    MAX_REQUIRES_PYTHON,
    MAX_URL,
    MAX_VERSIONS,
    ParsedPage,
)
from tests.properties.cost import growth

FOO, BASE = ProjectName("foo"), "https://index.example/simple/foo/"
JSON = "application/vnd.pypi.simple.v1+json"
GOOD = b'{"filename":"foo-1.0.tar.gz","url":"foo-1.0.tar.gz"}'
#: What a decoder may refuse: half a surrogate pair, a number too large, a cut escape, bad UTF-8.
ODD = [
    rb'"\ud800"', rb'"\udc00x"', rb'"\ud800\u0041"', rb'{"\udfff":1}', b"9" * 5000, b"1e999",
    rb'"\x"', b'"\xff"', b'"\x00"', b"NaN", b"-Infinity", b"[" * 60_000 + b"]" * 60_000,
    b"truth", b'{"a":1,}', b"01", rb'"\u12"', b'{"a" 1}', b'["\\ud800",{"a":[{}]},"}]"]',
]  # fmt: skip
SURROGATE = ODD[0]


def _read(text: bytes) -> ParsedPage:
    return json.read_page(text, project=FOO, base=BASE)


def _names(read: ParsedPage) -> list[str]:
    return [file.filename for file in read.page.files]


@pytest.mark.parametrize("size", [0, 7_000_000])
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("key", ["filename", "url", "hashes", "requires-python", "yanked", "_x"])
def test_entry_that_cannot_be_decoded_is_dropped(odd: bytes, key: str, size: int) -> None:
    """An entry with an invalid value is dropped and counted; the others are served."""
    bad = b'{"filename":"foo-2.0.zip","url":"foo-2.0.zip","%b":%b}' % (key.encode(), odd)
    entries = [GOOD, bad, GOOD.replace(b"1.0", b"3.0")]
    read = _read(b'{"files":[%b]%b}' % (b",".join(entries), b" " * size))
    assert [name for name in _names(read) if key != "_x" or "2.0" not in name] == [
        "foo-1.0.tar.gz",
        "foo-3.0.tar.gz",
    ]
    assert read.dropped + len(read.page.files) == 3
    assert bool(read.example) == bool(read.dropped)
    if odd == SURROGATE:
        assert read.dropped == 1


_VALUES = st.sampled_from([
    *(odd for odd in ODD if len(odd) < 100),
    b"null", b"7", b'"foo"', b'"bar"', b'"files"', b"[]", b'["1.0",1,"1.0","x"]', b"{}",
    b'{"status":"archived","reason":"x"}', b'{"status":null}', b'{"api-version":"1.1"}',
    b'{"api-version":"2.0"}', b'{"_last-serial":7,"_last-serial":8,"files":1}',
    b'{"project-status":{"status":"deprecated"}}', b'{"project-status":[]}',
    b"[%b]" % GOOD, b"[%b,{}]" % GOOD, b'[{"filename":1}]', b"[null]",
])  # fmt: skip
_KEYS = st.sampled_from(
    [b"files", b"meta", b"name", b"versions", b"project-status", b"_x", rb"\u0066iles", b"nam\xff"]
)


def _outcome(text: bytes) -> object:
    try:
        read = _read(text)
    except Malformed:
        return None
    page = read.page
    return read.dropped, read.example, page.files, page.versions, page.status, page.serial


@settings(max_examples=1000)
@given(st.lists(st.tuples(_KEYS, _VALUES), max_size=4), st.integers(0, 4))
@example([(b"files", b"[%b]" % GOOD)], 0)
@example([(b"files", b"[]"), (b"project-status", b"{}")], 0)
def test_small_and_large_pages_are_parsed_alike(
    members: list[tuple[bytes, bytes]], place: int
) -> None:
    """A page decoded at once gives the same result as the same page parsed in pieces."""
    members.insert(place, (b"files", b"[%b]" % GOOD))
    text = b"{%b}" % b",".join(b'"%b":%b' % member for member in members)
    assert _outcome(text) == _outcome(text + b" " * 200_000)


@pytest.mark.parametrize("odd", ODD)
def test_other_values_that_cannot_be_decoded_are_dropped(odd: bytes) -> None:
    """In versions, meta, status, name and unknown keys, only that value is lost."""
    read = _read(
        b'{"meta":{"_private":%b,"api-version":"1.1","_last-serial":7,"x":%b},"_own":%b,'
        b'"name":%b,"versions":["1.0",%b,"2.0"],"unknown":%b,'
        b'"project-status":{"status":"archived","reason":%b},"files":[%b]}' % (*(odd,) * 7, GOOD)
    )
    assert _names(read) == ["foo-1.0.tar.gz"]
    page = read.page
    assert page.versions[0] == "1.0"
    assert page.versions[-1] == "2.0"
    assert page.serial == 7
    assert page.status is not None
    assert page.status.status is Status.ARCHIVED
    json.write_page(page, file_url=lambda file: file.url)


@pytest.mark.parametrize("odd", ODD)
def test_project_that_cannot_be_decoded_is_dropped(odd: bytes) -> None:
    """A list is parsed without the invalid entry."""
    read = json.read_list(
        b'{"meta":{"_x":%b},"projects":[{"name":"a"},{"name":%b},{"name":"b","_x":%b},%b,'
        b'{"name":"c"}]}' % ((odd,) * 4)
    )
    assert [name for name in read.names if name != "b"] == ["a", "c"]


def test_list_as_a_key_is_malformed() -> None:
    """An invalid key makes a text invalid JSON, however large it is."""
    for size in (0, 7_000_000):
        with pytest.raises(Malformed):
            _read(b'{[1]:2,"files":[]%b}' % (b" " * size))


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"{}", b"[]", b"null", b"\xff\xfe", b'{"files":[', b'{"files":[]',
        b'{"files":{}}', b'{"files":[]}x', b'{"files":[1 2]}',
        b'{"files":[],1:2}', b'{"files":[,]}', b'{"files"}',
        b'{"files":[{]}', b'{"files":[]],"x":1}', b'{"files":["]}', b'{"files":["\\"]}',
        b"{" * 10**5, b"[" * 10**5, b'{"files":' + b"[" * 10**5, b'{"files":[' + b'{"a":' * 10**5,
    ],
)  # fmt: skip
def test_texts_that_are_no_page_are_malformed(text: bytes) -> None:
    """A text that is truncated, or has another structure, is rejected."""
    with pytest.raises(Malformed):
        _read(text)


def test_byte_order_mark_is_skipped() -> None:
    """Some servers send one."""
    assert _names(_read(b'\xef\xbb\xbf {"files":[%b]}' % GOOD)) == ["foo-1.0.tar.gz"]


_scrap = st.sampled_from(
    [*ODD[:5], b'{"files":[', b"]}", b'{"', b'":', b'"', b",", b"[", b"]", b"{", b"}", b"1",
     b"null", b'"filename":"foo-1.0.zip"', b'"url":"x"', b'"versions":[', b'"meta":{', b"\\", b" ",
     b'"files":['],
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(_scrap, max_size=25).map(b"".join), st.integers(1, 200), st.text(max_size=60))
@example(b'{"files":[]}', 1, "text/html; charset*0*=x; charset*" + "9" * 5000 + "*=x")
@example(b"+2AA-<a href=+2AA->", 1, "text/html; charset=utf-7")
@example(rb"\ud800<a href='\ud800.zip'>", 1, "text/html; charset=unicode_escape")
def test_any_body_is_parsed_or_malformed(text: bytes, piece: int, content_type: str) -> None:
    """A body of any type is parsed as a page or list, or rejected as malformed."""
    bodies = (text, b'{"files":[{"filename":"foo-1.0.zip","url":"x"},%b' % text)
    for body in bodies:
        for media in (JSON, "text/html", content_type, f"text/html; charset={content_type}"):
            with suppress(Malformed):
                page = pages.read_page(body, media, project=FOO, base=BASE).page
                json.write_page(page, file_url=lambda file: file.url)
            with suppress(Malformed):
                pages.read_list(body, media)
        with suppress(Malformed):
            json.read_page(body, project=FOO, base=BASE, piece_bytes=piece)
        with suppress(Malformed):
            json.read_list(body, piece_bytes=piece)


@pytest.mark.parametrize("charset", ["latin-1", "windows-1252", "utf-16", "utf-32-le", "gb18030"])
def test_charsets_of_pages_are_decoded(charset: str) -> None:
    """An HTML page may be in one of the common charsets."""
    body = '<a href="x">foo-1.0-é.zip</a>'.encode(charset)
    media = f'text/html; charset="{charset}"'
    page = pages.read_page(body, media, project=FOO, base=BASE).page
    assert [file.filename for file in page.files] == ["foo-1.0-é.zip"]


def test_no_charset_takes_quadratic_time() -> None:
    """Codecs of Python that are not for pages are not used: Punycode takes quadratic time."""

    def read(size: int) -> None:
        body = b"<a href=x>" + b"-" + b"9a" * (size // 2)
        pages.read_page(body, "text/html; charset=punycode", project=FOO, base=BASE)

    assert growth(read, 30_000) < 9


# --- lengths -------------------------------------------------------------------------------------


def _page(form: str, *, long: int, **values: Any) -> ProjectPage:
    """A page with one file of which these values are made of that many characters."""
    entry = {"filename": "foo-1.0.zip", "url": "foo-1.0.zip"}
    for key, template in values.items():
        entry[key.replace("_", "-")] = template.format("x" * long)
    if form == "json":
        return _read(stdlib_json.dumps({"files": [entry]}).encode()).page
    named = {key: key if key == "href" else f"data-{key}" for key in entry}
    attributes = "".join(
        f' {named[k]}="{v}"' for k, v in entry.items() if k not in ("filename", "url")
    )
    text = f'<a href="{entry["url"]}"{attributes}>{entry["filename"]}</a>'
    return pages.read_page(text.encode(), "text/html", project=FOO, base=BASE).page


@pytest.mark.parametrize("form", ["json", "html"])
@pytest.mark.parametrize(
    ("key", "template", "longest", "then"),
    [
        ("requires_python", "{}", MAX_REQUIRES_PYTHON, None),
        ("yanked", "{}", MAX_REASON, True),
        ("provenance", "https://x/{}", MAX_URL - 10, None),
    ],
)
def test_overlong_values_are_left_out(
    form: str, key: str, template: str, longest: int, then: object
) -> None:
    """A value up to the limit is served; a longer one is left out, and the file stays (yanked)."""
    for long, expected in ((longest, template.format("x" * longest)), (longest + 1, then)):
        page = _page(form, long=long, **{key: template})
        assert getattr(page.files[0], key) == expected
    for long in (10_000, 100_000):
        assert getattr(_page(form, long=long, **{key: template}).files[0], key) == then


@pytest.mark.parametrize("form", ["json", "html"])
@pytest.mark.parametrize(
    ("key", "template"), [("url", "{}/foo-1.0.zip"), ("filename", "foo-{}.zip")]
)
def test_file_with_an_overlong_address_or_name_is_dropped(
    form: str, key: str, template: str
) -> None:
    """Up to the limit a file is served, beyond it is dropped."""
    longest = 200 if key == "filename" else MAX_URL - 100
    values = {key: template} if key == "url" else {key: template, "url": "x"}
    assert len(_page(form, long=longest, **values).files) == 1
    for long in (longest + 100, 10**6):
        assert _page(form, long=long, **values).files == ()


def test_overlong_versions_and_reasons_are_left_out() -> None:
    """Overlong versions are left out; a status stays without an overlong reason."""
    long = "1" * 5000
    read = _read(
        stdlib_json.dumps(
            {"files": [], "versions": ["1.0", long, "2.0"], "meta": {"_last-serial": 10**20},
             "project-status": {"status": "quarantined", "reason": long}}
        ).encode()
    )  # fmt: skip
    assert read.page.versions == ("1.0", "2.0")
    assert read.page.serial is None
    assert read.page.status is not None
    assert (read.page.status.status, read.page.status.reason) == (Status.QUARANTINED, None)


def test_overlong_base_address_is_ignored() -> None:
    """It would be part of every address of the page."""
    text = f'<base href="https://x.example/{"x" * 2000}/"><a href="foo-1.0.zip">x</a>'.encode()
    page = pages.read_page(text, "text/html", project=FOO, base=BASE).page
    assert page.files[0].url == f"{BASE}foo-1.0.zip"


def test_files_and_versions_beyond_the_limit_are_dropped() -> None:
    """The first ones are served, and the others counted."""
    files = [{"filename": f"foo-{n}.zip", "url": "x"} for n in range(MAX_FILES + 6)]
    versions = [str(n) for n in range(MAX_VERSIONS + 5)]
    read = _read(stdlib_json.dumps({"files": files, "versions": versions}).encode())
    assert _names(read) == [file["filename"] for file in files[:MAX_FILES]]
    assert read.dropped == 6
    assert read.page.versions == tuple(versions[:MAX_VERSIONS])
