"""A public index cannot send us into the private network; a private one may stay in it."""

import socket
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver
from typing_extensions import override

from simple_repository_server.upstream.addresses import GuardedResolver, PrivateAddress

pytestmark = pytest.mark.anyio

ADDRESSES = {
    "public.example": "93.184.216.34",
    "cdn.example": "93.184.216.35",
    "private.example": "10.0.0.5",
    "metadata.example": "169.254.169.254",
}


class Names(AbstractResolver):
    """Resolves from a table."""

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[Any]:
        return [{"hostname": host, "host": ADDRESSES[host], "port": port}]

    @override
    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("own", "host", "allowed"),
    [
        ("public.example", "public.example", True),
        ("public.example", "cdn.example", True),
        ("public.example", "private.example", False),
        ("public.example", "metadata.example", False),
        ("private.example", "private.example", True),
        ("private.example", "cdn.example", True),
        ("private.example", "metadata.example", True),
        ("93.184.216.34", "private.example", False),
        ("127.0.0.1", "private.example", True),
    ],
)
async def test_names(own: str, host: str, allowed: bool) -> None:
    """From public to private there is no way; all others are open."""
    resolver = GuardedResolver(own, inner=Names())
    if allowed:
        assert (await resolver.resolve(host))[0]["host"] == ADDRESSES[host]
    else:
        with pytest.raises(PrivateAddress):
            await resolver.resolve(host)


@pytest.mark.parametrize(
    ("own", "host", "allowed"),
    [
        ("public.example", "10.0.0.1", False),
        ("public.example", "[::1]", False),
        ("public.example", "127.1", False),
        ("public.example", "2130706433", False),
        ("public.example", "[::ffff:7f00:1]", False),
        ("public.example", "93.184.216.40", True),
        ("public.example", "cdn.example", True),
        ("10.0.0.9", "10.0.0.1", True),
        ("10.0.0.9", "10.0.0.9", True),
    ],
)
async def test_addresses(own: str, host: str, allowed: bool) -> None:
    """Addresses instead of names are checked alike."""
    resolver = GuardedResolver(own, inner=Names())
    if allowed:
        await resolver.check_literal(host)
    else:
        with pytest.raises(PrivateAddress):
            await resolver.check_literal(host)
