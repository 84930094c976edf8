"""Cutting large HTML texts into pieces that can be parsed one after the other.

The tree of a text takes ten times its size: that of the list of a public index would not fit.
"""

import re
from collections.abc import Iterator

#: How large a piece is, at least.
PIECE_BYTES = 128 * 1024

_ANCHOR = re.compile(rb"<[aA]\s")
# What stands in comments and in these elements is not what it looks like: it is not cut.
_OPAQUE = re.compile(
    rb"<(!--|(?:script|style|title|textarea|xmp|iframe|noembed|noframes|noscript|plaintext"
    rb"|template|select|svg|math)\b)",
    re.IGNORECASE,
)


def pieces(text: bytes) -> Iterator[bytes]:
    """The text, cut before anchors: parsed apart, the pieces have the anchors it has as a whole.

    That holds where anchors are closed. A new one ends the one before it in any case, so that no
    text needs more than a piece at a time.
    """
    start = clear = 0
    anchor = _ANCHOR.search(text, PIECE_BYTES)
    while anchor:
        cut = anchor.start()
        while clear <= cut and (opaque := _OPAQUE.search(text, clear, cut)):
            clear = _end(text, opaque)
        if clear <= cut:
            yield text[start:cut]
            start = clear = cut
        anchor = _ANCHOR.search(text, max(start + PIECE_BYTES, clear))
    yield text[start:]


def _end(text: bytes, opaque: re.Match[bytes]) -> int:
    kind = opaque[1]
    closing = rb"-->" if kind == b"!--" else rb"</%b\b" % kind
    end = re.compile(closing, re.IGNORECASE).search(text, opaque.end())
    return end.end() if end else len(text)
