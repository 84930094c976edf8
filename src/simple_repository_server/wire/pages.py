"""Parse what an upstream sent, according to its Content-Type."""

import codecs
import re

from simple_repository_server.errors import Malformed
from simple_repository_server.model import ProjectList
from simple_repository_server.names import ProjectName
from simple_repository_server.wire import html, json
from simple_repository_server.wire.parsing import ParsedPage

#: The `Accept` header for pages: JSON is preferred (PEP 691).
ACCEPT = (
    "application/vnd.pypi.simple.v1+json, "
    "application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
)
_HTML = frozenset(("application/vnd.pypi.simple.v1+html", "text/html", "application/xhtml+xml"))
# Some indexes use the general media type of JSON.
_JSON = frozenset(("application/vnd.pypi.simple.v1+json", "application/json"))

_CHARSET = re.compile(
    r";\s{0,9}charset\s{0,9}=\s{0,9}[\"']?([A-Za-z0-9][A-Za-z0-9._:+-]{0,40})", re.IGNORECASE
)
# Python has other codecs: some are not for texts, some take quadratic time.
_CODECS = re.compile(
    r"ascii|(?:iso8859|koi8|mac|utf-16|utf-32)-[a-z0-9-]+|utf-(?:16|32)|cp\d+"
    r"|gb2312|gbk|gb18030|big5(?:hkscs)?|euc_(?:jp|kr)|shift_jis|iso2022_(?:jp|kr)"
)


def read_page(body: bytes, content_type: str, *, project: ProjectName, base: str) -> ParsedPage:
    """The page in a body that came from the address `base`. Raises `Malformed`."""
    media_type, charset = _split(content_type)
    if media_type in _JSON:
        return json.read_page(body, project=project, base=base)
    return html.read_page(_utf8(body, media_type, charset), project=project, base=base)


def read_list(body: bytes, content_type: str) -> ProjectList:
    """The list of projects in a body. Raises `Malformed`."""
    media_type, charset = _split(content_type)
    if media_type in _JSON:
        return json.read_list(body)
    return html.read_list(_utf8(body, media_type, charset))


def _split(content_type: str) -> tuple[str, str]:
    """The media type and the charset, "" if there is none."""
    charset = _CHARSET.search(content_type)
    return content_type.partition(";")[0].strip().lower(), charset[1] if charset else ""


def _utf8(body: bytes, media_type: str, charset: str) -> bytes:
    """The body in UTF-8; an unknown charset, or one not in `_CODECS`, is taken for UTF-8."""
    if media_type not in _HTML:
        raise Malformed(f"it is of type {media_type[:60]!r}, not a page of an index")
    try:
        codec = codecs.lookup(charset or "utf-8").name
    except (LookupError, ValueError):
        return body
    if codec == "utf-8" or not _CODECS.fullmatch(codec):
        return body
    return body.decode(codec, "replace").encode("utf-8", "replace")
