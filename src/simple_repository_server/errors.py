"""Every exception of the project, and nothing else.

    RepositoryError
    ├── NotFound                    it is not here (404)
    │   ├── InvalidName             … because no such name can exist
    │   ├── ProjectNotFound
    │   └── ResourceNotFound
    ├── SourceUnavailable           a source cannot answer now (503)
    │   ├── SourceTimeout           … in time (504)
    │   └── SourceInvalid           … or says something that makes no sense (502)
    ├── NotAcceptable               no representation the client would take (406)
    ├── Malformed                   a text that cannot be read; its source makes it SourceInvalid
    └── TransferAborted             a body that broke off or proved wrong after it had begun

Which HTTP status each becomes is decided in one place, `web/problems.py`. Texts go to clients and
to logs: they name the source by its label, which never holds a credential.
"""


class RepositoryError(Exception):
    """Anything this project raises on purpose."""


class NotFound(RepositoryError):
    """What was asked for is not in this repository."""


class InvalidName(NotFound):
    """A text that can be no project's or file's name, so nothing of that name exists."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{text[:80]!r} is not a valid {kind} name.")
        self.text = text


class ProjectNotFound(NotFound):
    """No such project in this repository."""

    def __init__(self, project: str) -> None:
        super().__init__(f"The project {project!r} is not in this index.")
        self.project = project


class ResourceNotFound(NotFound):
    """The project exists, this file of it does not (or is not offered, for the reason `why`)."""

    def __init__(self, project: str, filename: str, *, why: str = "") -> None:
        super().__init__(why or f"The project {project!r} has no file {filename!r}.")
        self.project = project
        self.filename = filename


class SourceUnavailable(RepositoryError):
    """A source cannot answer now; asking again later may help.

    `source` is the label of the source, `reason` what happened there, `retry_after_s` the whole
    seconds it asks to be left alone, if it does, `transient` whether trying again soon is worth it.
    `refused` tells an answer from an outage: it does not let us see it (401, 403), so whatever it
    showed before must not be served on.
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
    """A source did not answer in time."""

    verb = "did not answer in time"


class SourceInvalid(SourceUnavailable):
    """A source answered, but not with anything that can be used."""

    verb = "gave an unusable answer"


class NotAcceptable(RepositoryError):
    """None of the representations on offer is one the client accepts."""

    def __init__(self, accept: str, offers: tuple[str, ...]) -> None:
        super().__init__(f"Cannot answer as {accept[:200]!r}. Available: {', '.join(offers)}.")
        self.offers = offers


class Malformed(RepositoryError):
    """A text is not what it should be: a page, a list, an archive, metadata."""


class TransferAborted(RepositoryError):
    """A body broke off or proved wrong after it had begun: the connection must be cut.

    Raised by a resource's body, never swallowed by the web layer, so that the server closes the
    connection and no client can take what it has for the complete file.
    """


def os_reason(error: OSError) -> str:
    """Why a system call failed, to stand inside a sentence: `no space left on device`."""
    reason = error.strerror or str(error) or "unknown error"
    return reason[:1].lower() + reason[1:]
