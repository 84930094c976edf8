"""Who is believed when they say for whom they ask: `X-Forwarded-For`, `-Proto`, `-Host`, `-Prefix`.

Anyone can send these headers. Those of a trusted proxy are believed; those of anybody else do not
reach the application.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from simple_repository_server.web.exchange import MAX_LOGGED

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ABOUT_CLIENT = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix"}
)
#: What is remembered of addresses seen.
_MAX_SEEN = 1024


class TrustedProxies:
    """The proxies that are believed: addresses, networks, and `*` for anyone.

    Raises `ValueError` for what is neither.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        texts = [text.strip() for text in trusted if text.strip()]
        self._all = "*" in texts
        self._networks: tuple[_Network, ...] = tuple(
            ipaddress.ip_network(text, strict=False) for text in texts if text != "*"
        )
        #: Remembered, as each of them asks many times.
        self.trusts = lru_cache(maxsize=_MAX_SEEN)(self._trusts)
        self.client_of = lru_cache(maxsize=_MAX_SEEN)(self._client_of)

    def client_in(self, headers: Iterable[tuple[bytes, bytes]], peer: str) -> str | None:
        """For whom the trusted `peer` asks, by all its headers; None if they do not say."""
        lists = [value for name, value in headers if name == b"x-forwarded-for"]
        if not lists:
            return None
        return self.client_of(b", ".join(lists)[-MAX_LOGGED:].decode("latin-1"), peer)

    def _trusts(self, host: str) -> bool:
        """Whether the client at that address is believed; one without an address is nobody."""
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
        """For whom the trusted `peer` asks: the last in its list that is no proxy of ours.

        Each proxy appends whom it was asked by, so what stands before that anyone can have said.
        """
        client = peer
        for text in reversed(forwarded_for.split(",")):
            named = _address(text.strip())
            client = named or client
            if not (named and self.trusts(named)):
                break
        return client


#: Believes nobody.
NOBODY = TrustedProxies(())


def without_forwarded(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers but for those in which a proxy speaks of its client."""
    return [pair for pair in headers if pair[0] not in ABOUT_CLIENT]


def _address(text: str) -> str:
    """The address in an entry, which may have a port; "" for what is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
