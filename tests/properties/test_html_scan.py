"""Anchors of HTML texts, as browsers see them, at a cost that grows with the text and no faster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.errors import Malformed
from simple_repository_server.model import Status
from simple_repository_server.names import ProjectName
from simple_repository_server.wire import html
from simple_repository_server.wire.html_scan import scan

FOO, BASE = ProjectName("foo"), "https://index.example/simple/foo/"


def _anchors(text: str) -> list[tuple[str, str]]:
    return [
        (element.attributes.get("href", ""), element.text.strip())
        for element in scan(text.encode())
        if element.name == "a"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<a href="x">y</a>', [("x", "y")]),
        ("<A HREF='x'>y</A >", [("x", "y")]),
        ("<a\nhref=x\tclass=c>y</a\n>", [("x", "y")]),
        ("<a/href=x/>y</a>", [("x/", "y")]),
        ("<a href = \n 'x' >y", [("x", "y")]),
        ('<a title="a>b" href="x">y</a>', [("x", "y")]),
        ("<a title='<a href=no>' href=x>y</a>", [("x", "y")]),
        ('<img alt="<a href=no>"><a href=x>y</a>', [("x", "y")]),
        ("<a href=1 href=2>y</a>", [("1", "y")]),
        ('<a title=a"b href=x>y</a>', [("x", "y")]),
        ('<a "t href=x>y</a>', [("x", "y")]),
        ("<a =t href=x>y</a>", [("x", "y")]),
        ('<a href="x"title="t">y</a>', [("x", "y")]),
        ("<a href=>y</a>", [("", "y")]),
        ("<a name=n>y</a>", [("", "y")]),
        ('<a href="x">y', [("x", "y")]),
        ("<a href=x>y<a href=z>w</a>", [("x", "y"), ("z", "w")]),
        ("<a href=x><b>y</b><i>z</i></a>", [("x", "yz")]),
        ("<a href=x>y<!-- no -->z</a>", [("x", "yz")]),
        ("<a href=x>y</p>z</a>", [("x", "yz")]),
        ("<a href=x>y</ a>z</a>", [("x", "yz")]),
        ("<a href=x>y</a></a><br/>", [("x", "y")]),
        ('<a href="x', []),
        ("<a href=x", []),
        ("<ax href=x>y</ax>", []),
        ('<a href="a&amp;b&#38;c&#x26;d">a&amp;b</a>', [("a&b&c&d", "a&b")]),
        # What looks like a reference is part of an address; with a semicolon it is one.
        ('<a href="?a&copy=1&lt=2&not3&reg;">&ltb</a>', [("?a&copy=1&lt=2&not3®", "<b")]),
        (f'<a href="&#{"9" * 5000};">&#{"9" * 5000};</a>', None),
        ("<!-- <a href=no> --><a href=x>y</a>", [("x", "y")]),
        ("<!--><a href=x>y</a>", [("x", "y")]),
        ("<!---><a href=x>y</a>", [("x", "y")]),
        ("<!-- a --!><a href=x>y</a>", [("x", "y")]),
        ("<!-- - -> <a href=no>", []),
        ("<!doctype html><a href=x>y</a>", [("x", "y")]),
        ("<?xml a='b'?><a href=x>y</a>", [("x", "y")]),
        ("<![CDATA[<a href=no>no</a>]]>", []),
        ("</><a href=x>y</a>", [("x", "y")]),
        ("<<a href=x>y</a>", [("x", "y")]),
        ("1 < 2<a href=x>y</a>", [("x", "y")]),
        ("<script>'<a href=no></a>'</script><a href=x>y</a>", [("x", "y")]),
        ("<STYLE><a href=no></stylex></Style ><a href=x>y</a>", [("x", "y")]),
        ("<title><a href=no></title><a href=x>y</a>", [("x", "y")]),
        ("<textarea><a href=no></textarea><a href=x>y</a>", [("x", "y")]),
        ("<xmp><a href=no></xmp><iframe><a href=no></iframe><a href=x>y", [("x", "y")]),
        ("<plaintext><a href=no>", []),
        ("<noscript><a href=x>y</a></noscript>", [("x", "y")]),
        ("<template><a href=no>no</a><meta></template><a href=x>y</a>", [("x", "y")]),
        ("<svg><title/><style/></svg><a href=x>y</a>", [("x", "y")]),
        ("<math><a href=x>y</a></math>", [("x", "y")]),
        ("<table><tr><td><a href=x>y</a></table>", [("x", "y")]),
        ("<ul><li><a href=x>y</a><li><a href=z>w</a></ul>", [("x", "y"), ("z", "w")]),
    ],
)  # fmt: skip
def test_anchors_are_found(text: str, expected: list[tuple[str, str]] | None) -> None:
    """Each anchor is found with its address and text, and nothing else is."""
    found = _anchors(text)
    if expected is not None:
        assert found == expected


def test_tag_with_very_many_attributes_is_one_tag() -> None:
    """Text far behind in a tag does not become markup of its own."""
    many = "x=1 " * 5000
    text = f'<a href=x {many} title="><a href=no>">y</a><p {many} title="<a href=no>"><a href=z>w'
    assert _anchors(text) == [("x", "y"), ("z", "w")]


_part = st.sampled_from((
    '<a href="{0}">{0}</a>', "<A HREF='{0}' x=\"a>b\">{0}</A><br>", "<li><a\nhref={0}>{0}</a></li>",
    "<!-- <a href=no>no</a> -->", "<script>'<a href=no>no</a>'</script>",
    "<p class='<a>'>é {0}</p>",
    "<a href={0}><b>{0}</b></a>", "<Title><a href=no>no</a></tiTle>", "<br/>", "\n", "</div>",
    "<a class=c\ndata-yanked href='{0}'>{0}", "<textarea>\n<a href=no></textarea>", "<?x <a>",
    "< a>",
    "<template><a href=no></template>",
))  # fmt: skip


@given(st.lists(_part, max_size=12))
def test_anchors_are_found_between_any_markup(parts: list[str]) -> None:
    """All anchors are found, whatever pieces of HTML are combined."""
    text = "".join(part.format(number) for number, part in enumerate(parts))
    hrefs = [str(n) for n, part in enumerate(parts) if "{0}" in part and "ref=" in part.lower()]
    assert [href for href, _ in _anchors(text)] == hrefs


def test_base_and_status_of_the_head() -> None:
    """The first base applies, and the status (PEP 792) of the metas before the first anchor."""
    text = (
        b'<META NAME="pypi:repository-version" content=1.3><base target=x><BASE href="/f/">'
        b'<base href="/g/"><meta name=pypi:project-status content="archived">'
        b'<meta name="pypi:project-status-reason" content="a &lt; b">'
        b"<a href=foo-1.0.zip data-yanked data-gpg-sig=false>x</a>"
        b"<meta name=pypi:project-status content=quarantined>"
    )
    page = html.read_page(text, project=FOO, base=BASE).page
    assert page.status is not None
    assert (page.status.status, page.status.reason) == (Status.ARCHIVED, "a < b")
    assert page.files[0].url == "https://index.example/f/foo-1.0.zip"
    assert (page.files[0].yanked, page.files[0].gpg_sig) == (True, False)


def test_base_applies_wherever_it_is() -> None:
    """Links before it are relative to it, too, as in browsers, pip and uv."""
    text = b'<a href="foo-1.zip">x</a><base target=x><base href="/f/"><a href="foo-2.zip">y</a>'
    page = html.read_page(text + b'<base href="/g/">', project=FOO, base=BASE).page
    assert [file.url for file in page.files] == [
        f"https://index.example/f/foo-{number}.zip" for number in (1, 2)
    ]


def test_another_major_version_is_rejected() -> None:
    """HTML of an unknown major API version is no page (PEP 629)."""
    with pytest.raises(Malformed):
        html.read_page(
            b'<meta name="pypi:repository-version" content="2.0"><a href=x>', project=FOO, base=BASE
        )
