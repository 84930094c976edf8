"""No index sends us into a network that is not its own: decisions only, nothing is connected to."""

import socket
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver
from typing_extensions import override

from simple_repository_server.upstream.guard import GuardedResolver, check_for_proxy
from simple_repository_server.upstream.private_addresses import PrivateAddress, Zone, zone_of

pytestmark = pytest.mark.anyio

ADDRESSES: Mapping[str, list[str]] = {
    "public.example": ["93.184.216.34"],
    "cdn.example": ["93.184.216.35"],
    "private.example": ["10.0.0.5"],
    "mixed.example": ["10.0.0.6", "93.184.216.36"],
    "metadata.example": ["169.254.169.254"],
    "loopback.example": ["127.0.0.1"],
    "mdns.example": ["fe80::1", "192.168.0.9"],
    "zero.example": ["0.0.0.0"],
}


class Names(AbstractResolver):
    """Resolves from a table."""

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[Any]:
        return [{"hostname": host, "host": one, "port": port} for one in ADDRESSES[host]]

    @override
    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("zone", "addresses"),
    [
        (Zone.PUBLIC, "93.184.216.34 2606:2800:220:1::1 ::ffff:93.184.216.34 64:ff9b::5db8:d822"),
        (Zone.PRIVATE, "10.1.2.3 172.16.0.1 192.168.0.1 100.64.0.1 fd00::1 ::ffff:10.0.0.1"),
        (Zone.PRIVATE, "198.18.0.1 192.0.2.1 64:ff9b::a00:1"),
        (Zone.LOOPBACK, "127.0.0.1 127.255.0.1 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1"),
        # Link-local and other services of clouds, by whatever notation.
        (Zone.NEVER, "169.254.169.254 fe80::1 fe80::1%eth0 ::ffff:169.254.169.254"),
        (Zone.NEVER, "64:ff9b::a9fe:a9fe fd00:ec2::254 100.100.100.200 168.63.129.16"),
        # Unspecified, multicast, reserved, broadcast.
        (Zone.NEVER, "0.0.0.0 0.1.2.3 :: 224.0.0.1 239.1.1.1 ff02::1 240.0.0.1 255.255.255.255"),
        # Tunnels and forms that hold another address: NAT64 for local use, 6to4, Teredo,
        # site-local, compatible, translated.
        (Zone.NEVER, "64:ff9b:1::a00:1 2002:7f00:1::1 2002:5db8:d822:: 2001:0:1::1 fec0::1"),
        (Zone.NEVER, "::127.0.0.1 ::93.184.216.34 ::ffff:0:127.0.0.1 2001:db8::1 1000::1 4000::1"),
    ],
)
def test_zone_of_each_address(zone: Zone, addresses: str) -> None:
    """Each address lies in one zone, whichever notation it has."""
    assert {address: zone_of(address) for address in addresses.split()} == dict.fromkeys(
        addresses.split(), zone
    )


@pytest.mark.parametrize(
    ("own", "host", "allowed"),
    [
        ("public.example", "public.example", True),
        ("public.example", "cdn.example", True),
        ("public.example", "private.example", False),
        ("public.example", "loopback.example", False),
        ("public.example", "metadata.example", False),
        ("private.example", "private.example", True),
        ("private.example", "cdn.example", True),
        ("private.example", "loopback.example", False),
        ("private.example", "metadata.example", False),
        ("private.example", "zero.example", False),
        ("mixed.example", "private.example", False),
        ("metadata.example", "metadata.example", False),
        ("loopback.example", "loopback.example", True),
        ("93.184.216.34", "private.example", False),
        ("127.0.0.1", "private.example", True),
        ("127.0.0.1", "loopback.example", True),
        ("127.0.0.1", "metadata.example", False),
        ("169.254.169.254", "loopback.example", False),
    ],
)
async def test_names(own: str, host: str, allowed: bool) -> None:
    """A source leads to its own zone and to those outside it, and nobody to metadata services."""
    resolver = GuardedResolver(own, inner=Names())
    if allowed:
        assert [found["host"] for found in await resolver.resolve(host)] == ADDRESSES[host]
    else:
        with pytest.raises(PrivateAddress) as caught:
            await resolver.resolve(host)
        assert not any(address in str(caught.value) for address in ADDRESSES[host])


@pytest.mark.parametrize(
    ("own", "host", "left"),
    [("public.example", "mixed.example", ["93.184.216.36"]),
     ("mdns.example", "mdns.example", ["192.168.0.9"])],
)  # fmt: skip
async def test_only_allowed_addresses_of_a_host_are_used(
    own: str, host: str, left: list[str]
) -> None:
    """A private address of a host is dropped, and its public ones are used."""
    found = await GuardedResolver(own, inner=Names()).resolve(host)
    assert [result["host"] for result in found] == left


LITERALS = pytest.mark.parametrize(
    ("own", "host", "allowed"),
    [
        ("public.example", "10.0.0.1", False),
        ("public.example", "::1", False),
        ("public.example", "127.1", False),
        ("public.example", "2130706433", False),
        ("public.example", "0x7f.1", False),
        ("public.example", "0x7f000001", False),
        ("public.example", "::ffff:7f00:1", False),
        ("public.example", "64:ff9b::7f00:1", False),
        ("public.example", "64:ff9b:1::1", False),
        ("public.example", "2002:7f00:1::1", False),
        ("public.example", "fec0::1", False),
        ("public.example", "93.184.216.40", True),
        ("public.example", "cdn.example", True),
        ("10.0.0.9", "10.0.0.1", True),
        ("10.0.0.9", "10.0.0.9", True),
        ("10.0.0.9", "127.0.0.1", False),
        ("10.0.0.9", "169.254.169.254", False),
        ("10.0.0.9", "fe80::1", False),
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "0.0.0.0", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("169.254.1.1", "169.254.1.1", True),
        ("169.254.1.1", "169.254.169.254", False),
    ],
)


@LITERALS
async def test_addresses(own: str, host: str, allowed: bool) -> None:
    """Addresses instead of names are checked alike; that of the source is the operator's word."""
    resolver = GuardedResolver(own, inner=Names())
    if allowed:
        await resolver.check_literal(host)
    else:
        with pytest.raises(PrivateAddress):
            await resolver.check_literal(host)


@LITERALS
def test_ip_literals_are_checked_for_a_proxy(own: str, host: str, allowed: bool) -> None:
    """IP addresses are checked even if a proxy connects to them."""
    if allowed:
        check_for_proxy(host, own)
    else:
        with pytest.raises(PrivateAddress):
            check_for_proxy(host, own)


@pytest.mark.parametrize(
    ("own", "host", "allowed"),
    [
        ("public.example", "unknown.example", True),
        ("public.example", "localhost", False),
        ("public.example", "a.LOCALHOST.", False),
        ("localhost", "localhost", True),
        ("localhost", "127.0.0.1", True),
        ("private.example", "10.0.0.1", False),
        ("10.0.0.1", "metadata.google.internal", False),
    ],
)
def test_well_known_names_are_checked_for_a_proxy(own: str, host: str, allowed: bool) -> None:
    """Well-known private names are rejected; other names only the proxy can resolve."""
    if allowed:
        check_for_proxy(host, own)
    else:
        with pytest.raises(PrivateAddress):
            check_for_proxy(host, own)
