"""The records of the audit log: who received which file, and what was hidden from whom."""

import msgspec


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """The base of all records. Fields are only ever added, at the end."""


class FileServed(AuditRecord, frozen=True, kw_only=True, tag="file_served"):
    """A client received a file, a part of it, or where to fetch it."""

    #: The address of the client, as a trusted proxy forwards it.
    client: str
    #: The user, as middleware found out (`request.state.user`); "" if nobody did.
    user: str
    project: str
    file: str
    #: As in `sha256:9f86…`; "" if unknown.
    digest: str
    #: The name of the source that provides it.
    source: str
    #: `redirect` (to its origin), `cache`, `stream` (from its origin), or `local`.
    mode: str
    #: 200, 206 (a part), 302 (redirected), 304 (the client has these bytes).
    status: int
    #: The name of the index; "" for the only one.
    index: str
    #: Of the body, as handed to the server.
    bytes: int
    user_agent: str
    #: Why the transfer was cut off; "" if it was not.
    error: str = ""


class RequestHidden(AuditRecord, frozen=True, kw_only=True, tag="request_hidden"):
    """A client requested something that a rule hides."""

    client: str
    user: str
    project: str
    #: The file, or the metadata of one; "" for a page.
    file: str
    #: The label of the rule.
    rule: str
    reason: str
    #: 403, or 404 where the rule conceals.
    status: int
    index: str
    user_agent: str


class RecordsLost(AuditRecord, frozen=True, kw_only=True, tag="records_lost"):
    """Records of one process could not be written, and were dropped: that many before this one."""

    count: int
    reason: str
