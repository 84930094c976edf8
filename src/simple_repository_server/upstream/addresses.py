"""Which addresses a source may send us to.

An index on the public internet has no business pointing into the network this server stands in
(a cloud's metadata service, an internal tool). An index that is itself in a private network may.
"""

import ipaddress
import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from typing_extensions import override


class PrivateAddress(OSError):
    """A public index sent us to a private address."""


def is_public(address: str) -> bool:
    """Whether the IP address can be reached from the public internet."""
    return ipaddress.ip_address(address.partition("%")[0]).is_global


def literal(host: str) -> str | None:
    """The host if it is an IP address already, else None.

    Raises `PrivateAddress` for the other ways to write one (`127.1`, `2130706433`): nobody writes
    a public address like that, and they would be connected to without being resolved.
    """
    host = host.strip("[]").partition("%")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        if ":" in host or host.replace(".", "").isdigit():
            raise PrivateAddress(f"an odd address ({host[:40]})") from None
        return None


class GuardedResolver(AbstractResolver):
    """Resolves host names, but no foreign one to a private address for a public source.

    `own_host` is the host of the source, which may be anywhere; `inner` asks for addresses.
    """

    def __init__(self, own_host: str, *, inner: AbstractResolver | None = None) -> None:
        self._own_host = own_host
        self._inner = inner or DefaultResolver()

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of the host. Raises `OSError`, of which `PrivateAddress` is one."""
        results = await self._inner.resolve(host, port, family)
        if host != self._own_host:
            await self.check([result["host"] for result in results])
        return results

    async def check_literal(self, host: str) -> None:
        """The same check for a host that is an address already. Raises `PrivateAddress`."""
        address = literal(host)
        if address is not None and host != self._own_host:
            await self.check([address])

    async def check(self, addresses: list[str]) -> None:
        """Refuse private addresses unless the source has one itself. Raises `PrivateAddress`."""
        if all(map(is_public, addresses)):
            return
        own = literal(self._own_host)
        own_addresses = [own] if own else await self._resolve_own()
        if any(map(is_public, own_addresses)):
            raise PrivateAddress(f"a private address ({addresses[0]})")

    async def _resolve_own(self) -> list[str]:
        results: list[Any] = await self._inner.resolve(self._own_host, 0, socket.AF_UNSPEC)
        return [result["host"] for result in results]

    @override
    async def close(self) -> None:
        await self._inner.close()
