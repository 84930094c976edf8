"""For load balancers: whether this process is alive, and whether it can serve."""

from typing import Any

import msgspec

from simple_repository_server.model import RULE, SourceState
from simple_repository_server.observe.audit_log import AuditLog
from simple_repository_server.repository import Repository
from simple_repository_server.web.endpoint import PathNames
from simple_repository_server.web.exchange import Request
from simple_repository_server.web.problems import Headers
from simple_repository_server.web.reply import Head, Reply


def healthz(_: Request, repository: Repository, names: PathNames) -> Reply:
    """200: this process answers."""
    del repository, names
    return json_reply(200, {"status": "alive"})


def readyz(
    _: Request, repository: Repository, names: PathNames, *, audit: AuditLog | None = None
) -> Reply:
    """Whether the index can serve, with the states of its sources, its rules and its audit log.

    "not ready" (503) if every source is known to be down, or a rule cannot be evaluated: what it
    might hide is refused then. A source that answers with failures is not down: another project may
    well be had from it. "degraded" (200) if the audit log is incomplete or late.
    """
    del names
    states = repository.source_states()
    rules = [state for state in states if state.kind == RULE]
    sources = tuple(state for state in states if state.kind != RULE)
    ready = not sources or any(s.available is not False or s.answers for s in sources)
    ready = ready and all(rule.available is not False for rule in rules)
    content: dict[str, Any] = {
        "status": "ready" if ready else "not ready",
        "sources": source_facts(sources),
    }
    if rules:
        content["rules"] = [_fact(rule, "rule") for rule in rules]
    if audit is not None:
        state = audit.state()
        content["audit"] = _fact(state, "file")
        if ready and not state.available:
            content["status"] = "degraded"
    return json_reply(200 if ready else 503, content)


def _fact(state: SourceState, name: str) -> dict[str, str]:
    return {name: state.label, "state": state_word(state), "detail": state.detail}


def source_facts(states: tuple[SourceState, ...]) -> list[dict[str, Any]]:
    """The states of sources, as JSON shows them."""
    return [
        {"source": s.label, "kind": s.kind, "state": state_word(s), "detail": s.detail}
        for s in states
    ]


def state_word(state: SourceState) -> str:
    """The state in a word or two."""
    if state.answers:
        return "failing"
    return {None: "not asked yet", True: "available", False: "unavailable"}[state.available]


def json_reply(status: int, content: object) -> Reply:
    """An answer in JSON, laid out for people."""
    body = msgspec.json.format(msgspec.json.encode(content)) + b"\n"
    return Reply(Head(status, uncached_headers("application/json", body)), body)


def uncached_headers(content_type: str, body: bytes) -> Headers:
    """The headers of an answer that is made anew for each request."""
    return [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"Accept"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    ]
