"""Resolve and check host names in one step, so that the checked address is connected to."""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from typing_extensions import override

from simple_repository_server.upstream.private_addresses import (
    PrivateAddress,
    Zone,
    as_ip_literal,
    check_zone,
    zone_of,
    zone_of_name,
    zone_of_source,
)


class GuardedResolver(AbstractResolver):
    """Resolves host names to those of their addresses that the source may send us to.

    `own_host` is the host of the source, which may resolve to any address. `inner` resolves names.
    With `own_by_proxy` the source is reached through a proxy, and its name is not resolved here.
    """

    def __init__(
        self, own_host: str, *, inner: AbstractResolver | None = None, own_by_proxy: bool = False
    ) -> None:
        self._own_host = own_host
        self._own_by_proxy = own_by_proxy
        self._inner = inner or DefaultResolver()

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The allowed addresses of the host. Raises `OSError`, e.g. `PrivateAddress`."""
        results = await self._inner.resolve(host, port, family)
        own = await self._zone_for(host, [zone_of(result["host"]) for result in results])
        allowed, refused = [], None
        for result in results:
            try:
                check_zone(zone_of(result["host"]), own)
            except PrivateAddress as error:
                refused = error
            else:
                allowed.append(result)
        if refused is not None and not allowed:
            raise refused
        return allowed

    async def check_literal(self, host: str) -> None:
        """The same check for a host that is an IP address. Raises `PrivateAddress`."""
        address = None if host == self._own_host else as_ip_literal(host)
        if address is not None:
            zone = zone_of(address)
            check_zone(zone, await self._zone_for(host, [zone]))

    async def check_name(self, host: str) -> None:
        """The same check for a name that somebody else resolves once more. Raises `PrivateAddress`.

        All its addresses must be allowed. A name that cannot be resolved here is checked as one
        that a proxy resolves.
        """
        if host == self._own_host:
            return
        try:
            results = await self._inner.resolve(host, 0, socket.AF_UNSPEC)
        except OSError:
            check_for_proxy(host, self._own_host)
            return
        zones = [zone_of(result["host"]) for result in results]
        try:
            own = await self._zone_for(host, zones)
        except OSError:  # our own name cannot be resolved here
            own = own_zone_by_name(self._own_host)
        for zone in zones:
            check_zone(zone, own)

    async def _zone_for(self, host: str, zones: list[Zone]) -> Zone:
        """The zone of the source, as far as it matters for a host in these zones."""
        if host == self._own_host:
            return Zone.LOOPBACK
        if all(zone in (Zone.PUBLIC, Zone.NEVER) for zone in zones):
            return Zone.PUBLIC  # any source may send us there
        if self._own_by_proxy or as_ip_literal(self._own_host):
            return own_zone_by_name(self._own_host)
        results = await self._inner.resolve(self._own_host, 0, socket.AF_UNSPEC)
        return zone_of_source([result["host"] for result in results])

    @override
    async def close(self) -> None:
        await self._inner.close()


def check_for_proxy(host: str, own_host: str) -> None:
    """The check for a host that a proxy resolves. Raises `PrivateAddress`.

    Only IP addresses and a few well-known names can be checked here.
    """
    zone = None if host == own_host else zone_of_name(host)
    if zone is not None:
        check_zone(zone, own_zone_by_name(own_host))


def own_zone_by_name(own_host: str) -> Zone:
    """The zone of a source whose name is not resolved here; public if the name does not tell."""
    address = as_ip_literal(own_host)
    if address is not None:
        return zone_of_source([address])
    return min(zone_of_name(own_host) or Zone.PUBLIC, Zone.LOOPBACK)
