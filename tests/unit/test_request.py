"""A request: what its headers say to all who answer it."""

import pytest

from simple_repository_server.web.exchange import Request


@pytest.mark.parametrize(
    ("value", "revalidate"),
    [
        (b"no-cache", True),
        (b"No-Cache", True),
        (b"max-age=0, NO-CACHE", True),
        (b"max-age=0", False),
    ],
)
def test_no_cache_asks_to_revalidate(value: bytes, revalidate: bool) -> None:
    """The directive counts in any case of its letters (RFC 9111 §5.2)."""
    request = Request("GET", "/simple/", b"", {b"cache-control": value})
    assert request.context.revalidate is revalidate
