"""What the audit log records of a request: the file it hands out, or what a rule hid from it.

A file is handed out by each answer to GET with a file, a part of it (206), a redirect to it (302),
or the word that the client's copy is right (304). HEAD hands out nothing, and neither does
metadata; but where a rule hides them, that is recorded.
"""

from collections.abc import Callable

import msgspec

from simple_repository_server.errors import HiddenByRule
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.audit_events import AuditRecord, FileServed, RequestHidden
from simple_repository_server.observe.events import RequestFinished
from simple_repository_server.resource import Resource
from simple_repository_server.web.exchange import Request

Audit = Callable[[AuditRecord], None]
_REDIRECTED = 302
_HANDED_OUT = frozenset({200, 206, 302, 304})


class HandedOut(msgspec.Struct, frozen=True):
    """A file as the audit log names it."""

    resource: Resource
    project: str
    file: str
    digest: str
    source: str
    #: How, unless it is by a redirect.
    mode: str


def hand_out(
    request: Request, project: ProjectName, filename: FileName, resource: Resource
) -> None:
    """Record with the request that its answer hands out the file."""
    known = request.audited
    # A request that is answered again mostly hands out the same resource.
    if (type(known) is HandedOut and known.resource is resource) or request.head:
        return
    if filename.is_metadata:
        return
    request.audited = HandedOut(
        resource=resource,
        project=str(project),
        file=str(filename),
        digest=_digest(resource),
        source=resource.source,
        mode=_mode(resource),
    )


def audit_request(
    audit: Audit, request: Request, finished: RequestFinished, *, file: str = ""
) -> None:
    """Give `audit` the record of a request, for that file, that was answered; if there is one."""
    audited = request.audited
    user = request.context.state.get("user", "")
    if isinstance(audited, HiddenByRule):
        audit(
            RequestHidden(
                client=finished.client,
                user=str(user),
                project=audited.project,
                file=file,  # also where the whole project is hidden
                rule=audited.rule,
                reason=str(audited),
                status=finished.status,
                index=request.index,
                user_agent=finished.user_agent,
            )
        )
    elif audited is not None and finished.status in _HANDED_OUT:
        audit(
            FileServed(
                client=finished.client,
                user=str(user),
                project=audited.project,
                file=audited.file,
                digest=audited.digest,
                source=audited.source,
                mode="redirect" if finished.status == _REDIRECTED else audited.mode,
                status=finished.status,
                index=request.index,
                bytes=finished.bytes,
                user_agent=finished.user_agent,
                error=finished.error,
            )
        )


def _digest(resource: Resource) -> str:
    if resource.sha256:
        return f"sha256:{resource.sha256}"
    return next((f"{kind}:{digest}" for kind, digest in resource.hashes.items()), "")


def _mode(resource: Resource) -> str:
    if resource.verdict:
        return "cache"
    on_this_machine = resource.path is not None or resource.content is not None
    return "local" if on_this_machine else "stream"
