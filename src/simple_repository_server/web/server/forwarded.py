"""Trusted proxies: whose `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` headers count.

Anyone can send these headers. Those of a peer that is not a trusted proxy are removed before the
application sees them.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from simple_repository_server.web.exchange import MAX_LOGGED

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ABOUT_CLIENT = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix"}
)
#: How many results are remembered.
_MAX_SEEN = 1024


class TrustedProxies:
    """The trusted proxies: addresses, networks, and `*` for any.

    Raises `ValueError` for a text that is none of these.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        texts = [text.strip() for text in trusted if text.strip()]
        self._all = "*" in texts
        self._networks: tuple[_Network, ...] = tuple(
            ipaddress.ip_network(text, strict=False) for text in texts if text != "*"
        )
        #: Remembered, as each proxy sends many requests.
        self.trusts = lru_cache(maxsize=_MAX_SEEN)(self._trusts)
        self.client_of = lru_cache(maxsize=_MAX_SEEN)(self._client_of)

    def client_in(self, headers: Iterable[tuple[bytes, bytes]], peer: str) -> str | None:
        """The client that `peer`, a trusted proxy, forwards for; None if its headers name none."""
        lists = [value for name, value in headers if name == b"x-forwarded-for"]
        if not lists:
            return None
        return self.client_of(b", ".join(lists)[-MAX_LOGGED:].decode("latin-1"), peer)

    def _trusts(self, host: str) -> bool:
        """Whether the peer at that address is a trusted proxy; one without an address is not."""
        if self._all:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def _client_of(self, forwarded_for: str, peer: str) -> str:
        """The client `peer` forwards for: the last in its list that is not a trusted proxy.

        Each proxy appends its peer, so anything before that entry may have been made up.
        """
        client = peer
        for text in reversed(forwarded_for.split(",")):
            named = _address(text.strip())
            client = named or client
            if not (named and self.trusts(named)):
                break
        return client


#: No proxy is trusted.
NOBODY = TrustedProxies(())


def without_forwarded(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers without those in which a proxy describes its client."""
    return [pair for pair in headers if pair[0] not in ABOUT_CLIENT]


def _address(text: str) -> str:
    """The address in an entry, which may have a port; "" if there is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
