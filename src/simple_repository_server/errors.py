"""All exceptions of the project.

    RepositoryError
    ├── NotFound                    not in this repository (404)
    │   ├── InvalidName             … because the name is invalid
    │   ├── ProjectNotFound
    │   └── ResourceNotFound
    ├── HiddenByRule                a rule of the operator hides it (403, or 404 if concealed)
    ├── SourceUnavailable           a source cannot answer now (503)
    │   ├── SourceTimeout           … in time (504)
    │   ├── SourceInvalid           … or sent an invalid response (502)
    │   └── RuleUnavailable         a rule cannot be evaluated now (503)
    ├── NotAcceptable               no media type that the client accepts (406)
    ├── Malformed                   a document that cannot be parsed; becomes SourceInvalid
    └── TransferAborted             a body that broke off or failed verification while being sent

`web/problems.py` maps each to its HTTP status. Messages are sent to clients and logged: they name
a source by its label, which never contains credentials.
"""

from typing_extensions import override


class RepositoryError(Exception):
    """The base class of all errors that this project raises on purpose."""


class NotFound(RepositoryError):
    """A project, file or address that is not in this repository."""


class InvalidName(NotFound):
    """A text that is not a valid name of a project or file, so nothing of that name exists."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{text[:80]!r} is not a valid {kind} name.")
        self.text = text


class ProjectNotFound(NotFound):
    """A project that is certainly not in this repository."""

    def __init__(self, project: str) -> None:
        super().__init__(project)
        self.project = project

    @override
    def __str__(self) -> str:
        # Built when it is read: combiners raise and catch this error in each request.
        return f"The project {self.project!r} is not in this index."


class ResourceNotFound(NotFound):
    """A file that its project does not have, or that is not offered for the reason `why`."""

    def __init__(self, project: str, filename: str, *, why: str = "") -> None:
        super().__init__(why or f"The project {project!r} has no file {filename!r}.")
        self.project = project
        self.filename = filename


class HiddenByRule(RepositoryError):
    """A project or file that exists, and that a rule of the operator hides.

    It is no `NotFound`: a combiner that catches it to query the next source would hand out somebody
    else's project under the name. `rule` is the label of the rule, `reason` a sentence for users
    that names the project or file, and `concealed` whether clients are to be answered as if it did
    not exist.
    """

    def __init__(
        self,
        project: str,
        filename: str | None = None,
        *,
        rule: str,
        reason: str,
        concealed: bool = False,
    ) -> None:
        super().__init__(reason)
        self.project = project
        self.filename = filename
        self.rule = rule
        self.concealed = concealed


class SourceUnavailable(RepositoryError):
    """A source that cannot answer now; a retry later may succeed.

    `source` is its label, `reason` what failed, `retry_after_s` its `Retry-After` in whole seconds
    (None without one), and `transient` whether an immediate retry is sensible. `refused` is True
    if the source denied access (401, 403): then nothing it sent before may be served either.
    """

    verb = "is unavailable"

    def __init__(
        self,
        source: str,
        reason: str,
        *,
        retry_after_s: int | None = None,
        transient: bool = False,
        refused: bool = False,
    ) -> None:
        super().__init__(f"The source {source} {self.verb}: {reason}.")
        self.source = source
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.transient = transient
        self.refused = refused


class SourceTimeout(SourceUnavailable):
    """A source that did not answer in time."""

    verb = "did not answer in time"


class SourceInvalid(SourceUnavailable):
    """A source that sent an invalid response."""

    verb = "sent an invalid response"


class RuleUnavailable(SourceUnavailable):
    """A rule that cannot be evaluated now, so that nothing it might hide is served."""

    verb = "cannot be evaluated"

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(rule, reason)
        self.args = (f"The rule {rule} {self.verb}: {reason}.",)


class NotAcceptable(RepositoryError):
    """None of the media types on offer is one that the client accepts."""

    def __init__(self, accept: str, offers: tuple[str, ...]) -> None:
        super().__init__(f"Cannot answer as {accept[:200]!r}. Available: {', '.join(offers)}.")
        self.offers = offers


class Malformed(RepositoryError):
    """A document (a page, a list, an archive, metadata) that cannot be parsed."""


class TransferAborted(RepositoryError):
    """A body that broke off, or failed verification, after a part of it was sent.

    Raised while reading a resource's body and never caught by the web layer, so that the server
    cuts the connection and no client mistakes the part for the complete file.
    """


def os_reason(error: OSError) -> str:
    """Why a system call failed, to stand inside a sentence: `no space left on device`."""
    reason = error.strerror or str(error) or "unknown error"
    return reason[:1].lower() + reason[1:]
