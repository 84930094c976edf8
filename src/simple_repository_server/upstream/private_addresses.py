"""Which addresses a source may send us to: a decision on IP addresses, without network.

An index on the public internet may not redirect us into the network of this server, one in that
network may not redirect us to this machine, and none to a cloud's metadata service (SSRF). The
source itself may be anywhere: the operator configured its host.
"""

import ipaddress
from collections.abc import Iterable
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


class PrivateAddress(OSError):
    """A source sent us to a forbidden address, which the text does not contain."""


class Zone(IntEnum):
    """Where an address lies. A source may send us to its own zone and to those before it."""

    PUBLIC = 0
    #: A private network (RFC 1918, unique local, shared), or one not meant for use.
    PRIVATE = 1
    LOOPBACK = 2
    #: Only for a source that has the address itself: link-local (metadata services), multicast,
    #: unspecified, reserved, and tunnels to unknown places (6to4, Teredo).
    NEVER = 3


_LOCALHOST = "localhost"
#: Names of metadata services, for requests whose host a proxy resolves.
_NEVER_NAMES = frozenset(("metadata.google.internal", "metadata", "instance-data"))
#: Metadata services with other addresses: of AWS, Google, Alibaba, Oracle and Azure.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
_NEVER_4 = [IPv4Network(n) for n in ("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")]
#: Contain an IPv4 address in the last 32 bits: mapped (RFC 4291) and NAT64 (RFC 6052).
_HOLD_IPV4 = [IPv6Network(n) for n in ("::ffff:0:0/96", "64:ff9b::/96")]
_GLOBAL = IPv6Network("2000::/3")
_UNIQUE_LOCAL = IPv6Network("fc00::/7")
_TUNNELS = [IPv6Network(n) for n in ("2001::/32", "2002::/16")]


def zone_of(address: str) -> Zone:
    """The zone of an IP address. Raises `ValueError` for any other text."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return _zone_4(ip) if isinstance(ip, IPv4Address) else _zone_6(ip)


def _zone_4(ip: IPv4Address) -> Zone:
    if ip.is_loopback:
        return Zone.LOOPBACK
    if ip in _METADATA or any(ip in network for network in _NEVER_4):
        return Zone.NEVER
    return Zone.PUBLIC if ip.is_global else Zone.PRIVATE


def _zone_6(ip: IPv6Address) -> Zone:
    """An allow list: fec0::/10, ::a.b.c.d, 64:ff9b:1::/48 and others are never allowed."""
    if any(ip in network for network in _HOLD_IPV4):
        return _zone_4(IPv4Address(int(ip) & 0xFFFF_FFFF))
    if ip.is_loopback:
        return Zone.LOOPBACK
    if ip in _METADATA or any(ip in network for network in _TUNNELS):
        return Zone.NEVER
    if ip in _UNIQUE_LOCAL:
        return Zone.PRIVATE
    return Zone.PUBLIC if ip in _GLOBAL and ip.is_global else Zone.NEVER


def zone_of_source(addresses: Iterable[str]) -> Zone:
    """The zone of a source that has these addresses itself: that of the most public one."""
    return min((_as_own(address) for address in addresses), default=Zone.PUBLIC)


def _as_own(address: str) -> Zone:
    zone = zone_of(address)
    if zone is not Zone.NEVER:
        return zone
    # `http://0.0.0.0:8000/` is this machine; a link-local index is in a private network.
    unspecified = ipaddress.ip_address(address.partition("%")[0]).is_unspecified
    return Zone.LOOPBACK if unspecified else Zone.PRIVATE


def as_ip_literal(host: str) -> str | None:
    """The host if it is an IP address, else None.

    Raises `PrivateAddress` for other notations of one (`127.1`, `2130706433`, `0x7f.1`): honest
    indexes do not use them, and resolvers read them differently.
    """
    host = host.strip("[]").partition("%")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        last = host.rstrip(".").rpartition(".")[2].lower()
        if ":" in host or last.isdigit() or last.startswith("0x"):
            raise PrivateAddress("an address in an odd notation") from None
        return None


def zone_of_name(host: str) -> Zone | None:
    """The zone of a host that a proxy resolves; None if its name does not tell.

    Raises `PrivateAddress` as `as_ip_literal` does.
    """
    address = as_ip_literal(host)
    if address is not None:
        return zone_of(address)
    name = host.rstrip(".").lower()
    if name == _LOCALHOST or name.endswith(f".{_LOCALHOST}"):
        return Zone.LOOPBACK
    return Zone.NEVER if name in _NEVER_NAMES else None


def check_zone(zone: Zone, own: Zone) -> None:
    """Return if a source in the zone `own` may send us to `zone`. Raises `PrivateAddress`."""
    if zone is Zone.NEVER:
        raise PrivateAddress("an address that no index may lead to")
    if zone > own:
        raise PrivateAddress(
            "a private address, which a public index may not lead to"
            if own is Zone.PUBLIC
            else "a loopback address, which only an index on this machine may lead to"
        )
