"""Which status for which error, and the body of the answer: the one table."""

from html import escape

import msgspec

from simple_repository_server.errors import (
    HiddenByRule,
    Malformed,
    NotAcceptable,
    NotFound,
    ProjectNotFound,
    RepositoryError,
    ResourceNotFound,
    SourceInvalid,
    SourceTimeout,
    SourceUnavailable,
    TransferAborted,
)
from simple_repository_server.wire.negotiation import ErrorForm, choose_error_form

#: By the most specific class of an error.
STATUSES: dict[type[BaseException], int] = {
    NotFound: 404,
    HiddenByRule: 403,
    NotAcceptable: 406,
    SourceUnavailable: 503,
    SourceTimeout: 504,
    SourceInvalid: 502,
    # A body that proves corrupt before any of it was sent; a text its source should have wrapped.
    TransferAborted: 502,
    Malformed: 502,
    RepositoryError: 500,
    Exception: 500,
}
_FORBIDDEN = 403
_SERVER_ERRORS = 500
TITLES = {
    400: "Bad request",
    403: "Hidden by a rule",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    416: "Range not satisfiable",
    421: "Misdirected request",
    500: "Internal error",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Gateway timeout",
}
#: Not what a source sent: pip and poetry sleep this long before each of their five retries, and
#: report the failure only then; a background probe finds out when the source is available again.
_RETRY_AFTER_S = 1
#: How much of a sentence becomes the reason phrase of a status line.
_MAX_REASON = 300
_UNEXPECTED = "Internal error of this server; see its log."

Headers = list[tuple[bytes, bytes]]


class Problem(msgspec.Struct, frozen=True):
    """A status, one sentence on what is wrong, and further headers."""

    status: int
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    #: A bug in this server.
    unexpected: bool = False

    @property
    def reason(self) -> str:
        """The sentence as a reason phrase (RFC 9112 §4), which is what installers show.

        Empty for an error of the client, where the phrase of the status is enough, unless it is
        403: there the user needs the rule. Only our own server sends it: ASGI has no field for it.
        """
        if self.status < _SERVER_ERRORS and self.status != _FORBIDDEN:
            return ""
        text = self.detail[:_MAX_REASON].encode("ascii", "replace").decode("ascii")
        return "".join(c if c.isprintable() else " " for c in text)


def problem_of(error: BaseException) -> Problem:
    """The problem that a client is shown; without details of an unexpected error.

    What a rule hides and conceals is the same problem as what does not exist.
    """
    if isinstance(error, HiddenByRule) and error.concealed:
        error = _absence(error)
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    if not isinstance(error, RepositoryError):
        return Problem(status, _UNEXPECTED, unexpected=True)
    if isinstance(error, SourceUnavailable):
        return Problem(status, str(error), ((b"retry-after", b"%d" % _RETRY_AFTER_S),))
    return Problem(status, str(error))


def _absence(hidden: HiddenByRule) -> NotFound:
    """What would be raised if there were no such project, or no such file."""
    if hidden.filename is None:
        return ProjectNotFound(hidden.project)
    return ResourceNotFound(hidden.project, hidden.filename)


def render_problem(problem: Problem, accept: str) -> tuple[Headers, bytes]:
    """The headers and the body: JSON, HTML or text, as the client accepts."""
    form = choose_error_form(accept)
    if form is ErrorForm.JSON:
        body = msgspec.json.encode({"detail": problem.detail})
    elif form is ErrorForm.HTML:
        title = f"{problem.status} {TITLES.get(problem.status, 'Error')}"
        body = (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f"</head>\n<body><h1>{title}</h1><p>{escape(problem.detail)}</p></body></html>\n"
        ).encode()
    else:
        body = f"{problem.detail}\n".encode()
    headers = [
        (b"content-type", form.value.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"Accept"),
        (b"x-content-type-options", b"nosniff"),
        *problem.headers,
    ]
    return headers, body
