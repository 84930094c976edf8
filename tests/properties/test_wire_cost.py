"""What reading pages and lists costs: time that grows with the text, memory that hardly does."""

import pytest

from simple_repository_server.errors import Malformed
from simple_repository_server.names import ProjectName
from simple_repository_server.wire import html, json
from tests.properties.cost import LIST, PAGE, growth, memory_taken

FOO, BASE = ProjectName("foo"), "https://index.example/simple/foo/"
JSON = "application/vnd.pypi.simple.v1+json"


@pytest.mark.parametrize("unit", [
    "<a", "<a ", '<a href="', "<a href='", "<a href=x ", "<a href=x>", "<a =", '<a "', "<a>&amp",
    "<!--", "<!-- -", "<!-", "<?", "<", "< ", "</", "</a", "<a>x<b>", "<title>", "<title></titl",
    "<script>", "<script></script", "<svg>", "<template>", "<font a=1>", "<div>x</div>", "&#9",
    "<meta name=x content=y>", "<base href=x>", '<a href="&lt', "<a href=x>y</a", "-->", "--", "a ",
])  # fmt: skip
def test_time_for_html_grows_with_the_text(unit: str) -> None:
    """Whatever is repeated, four times the text takes about four times the work, not sixteen."""

    def read(size: int) -> None:
        text = (unit * (size // len(unit))).encode()
        html.read_page(text, project=FOO, base=BASE)

    assert growth(read, 30_000) < 9


@pytest.mark.parametrize(
    "opening", ["<a ", "<a href=", '<a href="', "<", "<!--", "<a x=", "<title>"]
)
@pytest.mark.parametrize("filling", [" ", "x", "x ", "x='' ", "-", "<", "/", "&#1;"])
def test_time_for_html_grows_with_what_is_inside(opening: str, filling: str) -> None:
    """The same holds for one tag, value, comment or text that is very long."""

    def read(size: int) -> None:
        text = f"{opening}{filling * (size // len(filling))}".encode()
        html.read_page(text, project=FOO, base=BASE)

    assert growth(read, 30_000) < 9


@pytest.mark.parametrize("piece", [2_000, 10**9])
@pytest.mark.parametrize("key", ["files", "versions", "x"])
@pytest.mark.parametrize("unit", [
    "{}", "[]", "1", "null", '"a"', rb'"\ud800"'.decode(), '{"a":"\\ud800"}', '{"a":[{}]}',
    '{"a":[{}],"b":"\\ud800"}', '{"a":"}]"}', '{"a":"},{"}', '{"filename":"a","url":"b"}',
    "[[],{}]",
    '{"x":{},"a":1}', '[{},"\\ud800"]', "[", "{", '"', '\\"', '{"a":', " ", "]", "},", "}]",
])  # fmt: skip
def test_time_for_json_grows_with_the_text(unit: str, key: str, piece: int) -> None:
    """Whatever is repeated, four times the text takes about four times the work, not sixteen."""

    def read(size: int) -> None:
        inside = ",".join([unit] * (size // (len(unit) + 1)))
        text = f'{{"{key}":[{inside}],"meta":{{}}}}'.encode()
        try:
            json.read_page(text, project=FOO, base=BASE, piece_bytes=piece)
        except Malformed:
            return

    assert growth(read, 20_000) < 9


#: 36 kB that a tree builder makes millions of nodes of: it opens each `font` again in each `p`.
_TREE = "b'<p>' + b''.join(b'<font a=%d>' % n for n in range(1500)) + b'</p><p>x' * 1500"
#: What is repeated in JSON and how often, what stands before and behind it, and what reads it.
_JSON_BOMBS = {
    "entries": ("b'{},'", 2_200_000, '{"files":[', "{}]}", PAGE),
    "projects": ("b'{},'", 2_200_000, '{"projects":[', "{}]}", LIST),
    "lists": ("b'[],'", 2_200_000, '{"projects":[', "{}]}", LIST),
    "meta": ("b'[],'", 2_200_000, '{"meta":{"x":[', '0]},"files":[]}', PAGE),
    "unknown": ("b'{},'", 2_200_000, '{"x":[', '0],"files":[]}', PAGE),
    "status": ("b'{},'", 2_200_000, '{"project-status":[', '0],"files":[]}', PAGE),
    "keys": ("b'\"%d\":1,'", 600_000, "{", '"files":[]}', PAGE),
    "hashes": (
        "b'\"%d\":\"\",'", 600_000,
        '{"files":[{"filename":"a","url":"b","hashes":{', '"a":""}}]}', PAGE,
    ),
}  # fmt: skip
_HTML_BOMBS = {
    "tree": (_TREE, PAGE),
    "list tree": (_TREE, LIST),
    "attributes": ("b'<a ' + b'x ' * 3_000_000 + b'>'", PAGE),
    "values": ("b'<a ' + b''.join(b'x%d=1 ' % n for n in range(600_000)) + b'>'", PAGE),
    "open tags": ("b'<a href=x>' + b'<b>' * 2_000_000", PAGE),
    "metas": ("b'<meta name=x content=y>' * 300_000", PAGE),
    "anchors": ("b'<a href=x.zip>' * 500_000", PAGE),
    "references": ("b'<a href=\"' + b'&#x1F600;' * 700_000 + b'\">'", PAGE),
}


@pytest.mark.parametrize("bomb", _JSON_BOMBS)
def test_json_takes_a_small_multiple_of_its_size_in_memory(bomb: str) -> None:
    """No text makes its reader hold much more than the text itself."""
    unit, count, before, behind, read = _JSON_BOMBS[bomb]
    repeated = (
        f"b''.join({unit} % n for n in range({count}))" if "%" in unit else f"{unit} * {count}"
    )
    text = f"{before.encode()!r} + {repeated} + {behind.encode()!r}"
    taken, size = memory_taken(text, read, JSON)
    assert taken < 3 * size + 12_000_000


@pytest.mark.parametrize("bomb", _HTML_BOMBS)
def test_html_takes_a_small_multiple_of_its_size_in_memory(bomb: str) -> None:
    """No text makes its reader hold much more than the text itself."""
    taken, size = memory_taken(*_HTML_BOMBS[bomb], "text/html")
    assert taken < 3 * size + 12_000_000
