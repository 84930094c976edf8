"""Reading what an upstream sent, by the Content-Type it gave."""

from email.message import Message

from simple_repository_server.errors import Malformed
from simple_repository_server.model import ProjectList
from simple_repository_server.names import ProjectName
from simple_repository_server.wire import html, json
from simple_repository_server.wire.reading import Read

#: What we ask for: JSON if it can be had (PEP 691).
ACCEPT = (
    "application/vnd.pypi.simple.v1+json, "
    "application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
)
_HTML = frozenset(("application/vnd.pypi.simple.v1+html", "text/html", "application/xhtml+xml"))
# Some indexes call their JSON just that.
_JSON = frozenset(("application/vnd.pypi.simple.v1+json", "application/json"))


def read_page(body: bytes, content_type: str, *, project: ProjectName, base: str) -> Read:
    """The page in a body that came from the address `base`. Raises `Malformed`."""
    media_type, charset = _split(content_type)
    if media_type in _JSON:
        return json.read_page(body, project=project, base=base)
    return html.read_page(_decoded(body, media_type, charset), project=project, base=base)


def read_list(body: bytes, content_type: str) -> ProjectList:
    """The list of projects in a body. Raises `Malformed`."""
    media_type, charset = _split(content_type)
    if media_type in _JSON:
        return json.read_list(body)
    if charset != "utf-8" or media_type not in _HTML:
        body = _decoded(body, media_type, charset).encode()
    return html.read_list(body)


def _split(content_type: str) -> tuple[str, str]:
    message = Message()
    message["Content-Type"] = content_type
    charset = message.get_content_charset() or "utf-8"
    return content_type.partition(";")[0].strip().lower(), charset


def _decoded(body: bytes, media_type: str, charset: str) -> str:
    if media_type not in _HTML:
        raise Malformed(f"it is of type {media_type[:60]!r}, not a page of an index")
    try:
        return body.decode(charset, "replace")
    except (LookupError, UnicodeError):  # no such charset, or one that is not for pages
        return body.decode("utf-8", "replace")
