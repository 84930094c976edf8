"""Which addresses a source may send us to: a decision on IP addresses, and no network.

An index on the public internet has no business pointing into the network this server stands in,
nor one in that network at what listens on this very machine, and no index at all at a cloud's
metadata service. A source itself may be anywhere: its own host is the operator's word.
"""

import ipaddress
from collections.abc import Iterable
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


class PrivateAddress(OSError):
    """A source sent us where it may not; the text does not say which address that is."""


class Zone(IntEnum):
    """Where an address lies. A source may send us to its own zone, and those before it."""

    PUBLIC = 0
    #: A private network (RFC 1918, unique local, shared), or one nobody should use.
    PRIVATE = 1
    LOOPBACK = 2
    #: For no source but one that has the address itself: link-local (metadata services), multicast,
    #: unspecified, reserved, and tunnels that lead who knows where (6to4, Teredo).
    NEVER = 3


_LOCAL_HOST, _SUBDOMAIN_OF_IT = "localhost", ".localhost"
#: Names of metadata services, for where a proxy resolves names.
_NEVER_NAMES = frozenset(("metadata.google.internal", "metadata", "instance-data"))
#: Metadata services that are not link-local: of AWS, Google, Alibaba, Oracle and Azure.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
_NEVER_4 = [IPv4Network(n) for n in ("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")]
#: An IPv4 address is in the last 32 bits: mapped (RFC 4291), and by NAT64 (RFC 6052).
_HOLD_IPV4 = [IPv6Network(n) for n in ("::ffff:0:0/96", "64:ff9b::/96")]
_GLOBAL, _UNIQUE_LOCAL = IPv6Network("2000::/3"), IPv6Network("fc00::/7")
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
    """What is not known to be harmless is not: fec0::/10, ::a.b.c.d, 64:ff9b:1::/48 and more."""
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
    """Where a source lies that has these addresses itself: the outermost one counts."""
    return min((_as_own(address) for address in addresses), default=Zone.PUBLIC)


def _as_own(address: str) -> Zone:
    zone = zone_of(address)
    if zone is not Zone.NEVER:
        return zone
    # `http://0.0.0.0:8000/` is this machine; a link-local index is in the network it stands in.
    unspecified = ipaddress.ip_address(address.partition("%")[0]).is_unspecified
    return Zone.LOOPBACK if unspecified else Zone.PRIVATE


def as_ip_literal(host: str) -> str | None:
    """The host if it is an IP address already, else None.

    Raises `PrivateAddress` for the other ways to write one (`127.1`, `2130706433`, `0x7f.1`):
    nobody writes a public address like that, and who reads it next may read it otherwise.
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
    """The zone of a host that somebody else resolves: None if only they know.

    Raises `PrivateAddress` as `as_ip_literal` does.
    """
    address = as_ip_literal(host)
    if address is not None:
        return zone_of(address)
    name = host.rstrip(".").lower()
    if name == _LOCAL_HOST or name.endswith(_SUBDOMAIN_OF_IT):
        return Zone.LOOPBACK
    return Zone.NEVER if name in _NEVER_NAMES else None


def check_zone(zone: Zone, own: Zone) -> None:
    """Nothing, if a source in the zone `own` may send us to `zone`. Raises `PrivateAddress`."""
    if zone is Zone.NEVER:
        raise PrivateAddress("an address that no index may lead to")
    if zone > own:
        raise PrivateAddress(
            "a private address, which a public index may not lead to"
            if own is Zone.PUBLIC
            else "a loopback address, which only an index on this machine may lead to"
        )
