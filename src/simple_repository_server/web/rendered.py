"""A rendered page or list with the answers that are made of it: 200 and 304."""

import msgspec

from simple_repository_server.freshness import Freshness, FreshnessInfo
from simple_repository_server.model import ProjectList, ProjectPage
from simple_repository_server.web.cache_status import cache_status
from simple_repository_server.web.conditional import matches
from simple_repository_server.web.problems import Headers
from simple_repository_server.web.reply import Head, Reply

Snapshot = ProjectPage | ProjectList

#: A 304 repeats the headers of the 200 but those about its body (RFC 9110 §15.4.5).
_ABOUT_BODY = frozenset({b"content-type", b"content-length", b"content-encoding"})
_STALE = 110
_MISCELLANEOUS = 199
_PRINTABLE = range(0x20, 0x7F)


class _Shown(msgspec.Struct, frozen=True):
    """The freshness that headers state, and what has to be the same for them to be right."""

    info: FreshnessInfo
    #: Between these times they state the same; where these are equal, nobody knows.
    since: float
    until: float
    validated_at: float
    lifetime_s: float
    stale_reason: str | None
    limit: float | None
    verdict: str


def _shown(freshness: Freshness, now: float) -> _Shown:
    since, until = freshness.steady(now)
    return _Shown(
        freshness.at(now),
        since,
        until,
        freshness.validated_at,
        freshness.lifetime_s,
        freshness.stale_reason,
        freshness.limit,
        freshness.verdict,
    )


_NEVER = _Shown(FreshnessInfo(0, None, None), 0.0, 0.0, 0.0, 0.0, None, None, "")


class Rendered(msgspec.Struct):
    """A body, ready to be sent, and the answers that are made of it.

    Their headers state its freshness, which changes once a second at the most: until then they are
    used again.
    """

    etag: str
    body: bytes
    #: The headers that never change.
    headers: Headers
    #: The body is stored as zstd, and decompressed while it is sent (`compression.py`).
    decompressed_on_send: bool = False
    #: Whether the headers state the verdict of the cache.
    debug_headers: bool = False
    _shown: _Shown = _NEVER
    _complete: Reply = msgspec.field(default_factory=lambda: Reply(Head(0, [])))
    _unchanged: Reply = msgspec.field(default_factory=lambda: Reply(Head(0, [])))

    def reply(self, snapshot: Snapshot, now: float, if_none_match: str) -> Reply:
        """200, or 304 if the client has just this body; stating how fresh the snapshot is now.

        The headers are made again only when `Freshness.at` would return something else, which takes
        ten times as long as finding out that it would not.
        """
        shown, freshness = self._shown, snapshot.freshness
        if not (
            shown.since <= now < shown.until
            and shown.validated_at == freshness.validated_at
            and shown.lifetime_s == freshness.lifetime_s
            and shown.stale_reason is freshness.stale_reason
            and shown.limit == freshness.limit
            and (not self.debug_headers or shown.verdict == freshness.verdict)
        ):
            self._update(snapshot, now)
        if if_none_match and (if_none_match == self.etag or matches(if_none_match, self.etag)):
            return self._unchanged
        return self._complete

    def _update(self, snapshot: Snapshot, now: float) -> None:
        before, shown = self._shown, _shown(snapshot.freshness, now)
        self._shown = shown
        same = self._complete.status and before.info == shown.info
        if same and not (self.debug_headers and before.verdict != shown.verdict):
            return
        max_age, age, warning = shown.info
        incomplete = snapshot.incomplete if isinstance(snapshot, ProjectList) else ()
        headers = [*self.headers, _lifetime(0 if incomplete else max_age)]
        if age is not None:
            headers.append((b"age", b"%d" % age))
        if warning:
            headers.append((b"warning", _warning(_STALE, f"stale: {warning}")))
        headers += [
            (b"warning", _warning(_MISCELLANEOUS, f"incomplete: {text}")) for text in incomplete
        ]
        status = cache_status(shown.verdict, max_age=max_age, age=age)
        if self.debug_headers and status is not None:
            headers.append(status)
        self._complete = Reply(Head(200, headers), self.body, lasting=True)
        about_itself = [pair for pair in headers if pair[0] not in _ABOUT_BODY]
        self._unchanged = Reply(Head(304, about_itself), lasting=True)


def _lifetime(max_age_s: int) -> tuple[bytes, bytes]:
    """The `Cache-Control` of a page: for how long clients may use it without revalidation."""
    if max_age_s <= 0:
        return b"cache-control", b"max-age=0, must-revalidate"
    return b"cache-control", b"public, max-age=%d" % max_age_s


def _warning(code: int, text: str) -> bytes:
    """A `Warning` (RFC 7234 §5.5) with the text in printable ASCII."""
    quoted = text.encode("ascii", "replace").replace(b"\\", b"/").replace(b'"', b"'")
    return b'%d - "%b"' % (code, bytes(byte for byte in quoted if byte in _PRINTABLE))
