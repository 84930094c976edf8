"""The metas, bases and anchors of an HTML text, found in one scan.

Follows the tokenisation of HTML (WHATWG, §13.2.5: attributes, comments, elements whose contents
are text), but builds no tree: a few kilobytes of markup can make a tree of gigabytes, and no page
of an index needs one. The time is linear in the text, for any content, and spent in short
steps, so that other threads run in between.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from html import unescape
from html.entities import html5

import msgspec

#: Longer values are truncated; parsers of pages allow less.
MAX_VALUE_BYTES = 65_536
#: Longer texts of anchors are truncated.
MAX_TEXT_BYTES = 4_096

# Quantifiers are bounded, which keeps a match short: the rest is matched from there.
_SPACE = rb"\t\n\f\r "
_VALUE = rb"""(?:"([^"]*)"?|'([^']*)'?|([^"'>%b][^>%b]{0,65536}))""" % (_SPACE, _SPACE)
_ATTRIBUTE = rb"([^/>%b][^=/>%b]{0,500})(?:[%b]{0,500}=[%b]{0,500}%b?)?" % (
    *(_SPACE,) * 4,
    _VALUE,
)
_ATTRIBUTES = rb"(?:[/%b]{1,500}|%b){0,500}" % (_SPACE, re.sub(rb"\((?!\?)", b"(?:", _ATTRIBUTE))
_attributes = re.compile(_ATTRIBUTE)
_more_attributes = re.compile(rb"%b(>|\Z)?" % _ATTRIBUTES)
#: A whole anchor in its most common spelling, and an attribute of one.
_ANCHOR = rb'a((?:[ \n][a-z-]{1,50}="[^"]*"){0,20})>([^<]{0,300})</a>(?:<br ?/?>)?'
_plain_attributes = re.compile(r'([a-z-]+)="([^"]*)"')
_markup = re.compile(
    # A whole anchor, a start or an end tag, a comment, or markup that counts as one.
    rb"<<*(?:%b|(/?[A-Za-z][^/>%b]{0,100})(%b)(>|\Z)?|(!--)(-?>)?|([!?/]))?"
    % (_ANCHOR, _SPACE, _ATTRIBUTES)
)

#: The contents of these are text (raw text and RCDATA), except within SVG and MathML.
_RAW = (b"script", b"style", b"title", b"textarea", b"xmp", b"iframe", b"noembed", b"noframes")
_raw_ends = {name: re.compile(rb"</%b(?=[/>%b])" % (name, _SPACE), re.IGNORECASE) for name in _RAW}
_comment_end, _bogus_comment_end = re.compile(rb"--!?>"), re.compile(rb">")
_WINDOW_BYTES, _LONGEST_END = 1_000_000, 16

_WANTED = {
    name.encode(): name
    for name in (
        "href", "name", "content", "data-core-metadata", "data-dist-info-metadata", "data-gpg-sig",
        "data-provenance", "data-requires-python", "data-size", "data-upload-time", "data-yanked",
    )
}  # fmt: skip
_reference = re.compile(r"&(?:#[0-9]{1,9}|#[xX][0-9a-fA-F]{1,8}|[A-Za-z][A-Za-z0-9]{0,31})[;=]?")

#: Shorter values without references are memoised, so many of them.
_SHORT_VALUE = 100
_SHORT_VALUES = 256
_USUAL = {"&amp;": "&", "&gt;": ">", "&lt;": "<", "&quot;": '"'}


class Element(msgspec.Struct, frozen=True):
    """A `meta`, a `base` or an `a`, with its text."""

    name: str
    raw: bytes
    text: str = ""
    #: The raw attributes are in the most common spelling.
    plain: bool = False

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes an index uses. Parsed on access: a list of projects needs few of them."""
        return _plain(self.raw) if self.plain else _wanted(self.raw)


def scan(text: bytes) -> Iterator[Element]:
    """The metas, bases and anchors of a text in UTF-8, in order; no text is rejected.

    An anchor ends with `</a>`, the next anchor or the text. The contents of comments, templates and
    elements like `script` and `title` are skipped.
    """
    anchor: bytes | None = None
    words = bytearray()
    position = 0
    for start, end, name, attributes, inside in _tags(text):
        if anchor is not None and len(words) < MAX_TEXT_BYTES:
            words += text[position : min(start, position + MAX_TEXT_BYTES)]
        position = end
        if name in _ENDS_ANCHOR:
            if anchor is not None:
                yield Element("a", anchor, _text(words))
                anchor = None
                words.clear()
            if inside is not None:
                yield Element("a", attributes, _text(inside), plain=True)
            elif name == b"a":
                anchor = attributes
        elif name in _OF_HEAD:
            yield Element(name.decode(), attributes)


_ENDS_ANCHOR, _OF_HEAD = frozenset((b"a", b"/a", b"")), frozenset((b"meta", b"base"))
_HIDDEN = b"!"
_Tag = tuple[int, int, bytes, bytes, bytes | None]


def _tags(text: bytes) -> Iterator[_Tag]:
    """Of each tag its start, end, name in lower case (an end tag's with a slash), and attributes.

    The last value is the contents of a whole anchor. Comments, elements of text and tags in
    templates have the name `_HIDDEN`; the end of the text is a tag without a name.
    """
    position = 0
    depths = {b"template": 0, b"svg": 0, b"math": 0}
    while found := _markup.search(text, position):
        start, position = found.span()
        attributes, inside = found.group(1, 2)
        if inside is not None:
            yield start, position, _HIDDEN if depths[b"template"] else b"a", attributes, inside
            continue
        name, attributes, closing = found.group(3, 4, 5)
        if name is None:
            yield start, (position := _after_comment(found, text)), _HIDDEN, b"", None
            continue
        name = name.lower()
        if closing is None:
            position, closing = _end_of_tag(text, position)
        if not closing or name == b"plaintext":  # a tag cut off by the end of the text is none
            yield start, len(text), b"", b"", None
            return
        kind = name.removeprefix(b"/")
        if kind in depths:
            step = not attributes.endswith(b"/") if kind == name else -1
            depths[kind] = max(0, depths[kind] + step)
        elif name in _raw_ends and not (depths[b"svg"] or depths[b"math"]):
            position, _ = _end_of_tag(text, _after(_raw_ends[name], text, position))
        yield start, position, _HIDDEN if depths[b"template"] else name, attributes, None
    yield len(text), len(text), b"", b"", None


def _after_comment(found: re.Match[bytes], text: bytes) -> int:
    comment, closed, bogus = found.group(6, 7, 8)
    if comment is not None and closed is None:
        return _after(_comment_end, text, found.end())
    return _after(_bogus_comment_end, text, found.end()) if bogus is not None else found.end()


def _end_of_tag(text: bytes, position: int) -> tuple[int, bytes]:
    """Where a tag with very many attributes ends, and its `>` (b"" at the end of the text)."""
    while True:
        found = _more_attributes.match(text, position)
        if found is None or found[1] is not None:
            return (found.end(), found[1]) if found else (len(text), b"")
        position = found.end()


def _after(end: re.Pattern[bytes], text: bytes, position: int) -> int:
    """Where the next match of a short pattern ends, or the text."""
    while position < len(text):
        if found := end.search(text, position, position + _WINDOW_BYTES):
            return found.end()
        position += _WINDOW_BYTES - _LONGEST_END
    return len(text)


def _plain(attributes: bytes) -> dict[str, str]:
    """The attributes of an anchor in the most common spelling."""
    text = attributes.decode("utf-8", "replace")
    if len(text) > MAX_VALUE_BYTES:
        return _wanted(attributes)
    found = dict(_plain_attributes.findall(text)[::-1])
    if "&" in text:
        for name, value in found.items():
            if "&" in value:
                found[name] = _unescaped(value)
    return found


def _unescaped(value: str) -> str:
    if len(value) <= _SHORT_VALUE:
        return _unescaped_short(value)
    return _reference.sub(_resolved, value)


@lru_cache(maxsize=_SHORT_VALUES)
def _unescaped_short(value: str) -> str:
    """Remembered, as the files of a page have few different values of Requires-Python."""
    return _reference.sub(_resolved, value)


def _wanted(attributes: bytes) -> dict[str, str]:
    """The attributes an index uses; the first of those with the same name."""
    found: dict[str, str] = {}
    for name, double, single, plain in _attributes.findall(attributes):
        key = _WANTED.get(name.lower())
        if key is not None and key not in found:
            found[key] = _value(double or single or plain)
    return found


def _value(raw: bytes) -> str:
    value = raw[:MAX_VALUE_BYTES].decode("utf-8", "replace")
    return _reference.sub(_resolved, value) if "&" in value else value


def _resolved(found: re.Match[str]) -> str:
    """The text of a character reference in an attribute (`&copy` may be part of an address)."""
    reference = found[0]
    if usual := _USUAL.get(reference):
        return usual
    named = reference[1] != "#"
    if named and (reference[-1] == "=" or reference[1:] not in html5):
        return reference
    return unescape(reference)


def _text(raw: bytes | bytearray) -> str:
    text = raw.decode("utf-8", "replace")
    try:
        return unescape(text) if "&" in text else text
    except ValueError:  # a number that is too long for Python
        return text
