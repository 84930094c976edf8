"""One request and its answer: by the right way, guarded, and over a connection of few.

The library's own ways are off: it reads neither the environment nor a netrc file, follows no
redirect, keeps no cookie and undoes no coding.
"""

import asyncio
import ssl
from collections.abc import Mapping
from functools import lru_cache

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import DefaultResolver
from yarl import URL

from simple_repository_server.errors import RepositoryError
from simple_repository_server.upstream.egress import Egress
from simple_repository_server.upstream.guard import GuardedResolver, check_for_proxy
from simple_repository_server.upstream.limits import Limits
from simple_repository_server.upstream.proxies import Proxy
from simple_repository_server.version import __version__
from simple_repository_server.wire.urls import HttpAddress, parse_http

_READ_BYTES = 256 * 1024
#: What it holds is received in full whether somebody reads it or not: its connection is soon free.
SHORT_BYTES = _READ_BYTES
_PROXY_AUTHENTICATION_REQUIRED = 407
#: Of how many addresses the parts are remembered: the same few pages and files are requested often.
_REMEMBERED = 128


class Transport:
    """Connections for the index at `url`; `egress` is the way out. `label` is what errors say."""

    def __init__(self, url: str, *, label: str, limits: Limits, egress: Egress) -> None:
        self._url = url
        self._own_host = parse_http(url).host
        self._label = label
        self._limits = limits
        self._egress = egress
        self._direct: aiohttp.ClientSession | None = None
        self._by_proxy: aiohttp.ClientSession | None = None
        self._guard: GuardedResolver | None = None

    async def open(self) -> None:
        """Make ready to send requests. Raises `ValueError` if certificates cannot be read."""
        tls: ssl.SSLContext | bool = True
        if self._egress.authorities:
            tls = await asyncio.to_thread(self._egress.tls_context)
        own_by_proxy = self.proxy_for(self._url) is not None
        self._guard = GuardedResolver(self._own_host, own_by_proxy=own_by_proxy)
        self._direct = self._session(self._guard, tls)
        # The address of a proxy is the operator's word: it is not guarded.
        self._by_proxy = self._session(DefaultResolver(), tls)

    def _session(
        self, resolver: AbstractResolver, tls: ssl.SSLContext | bool
    ) -> aiohttp.ClientSession:
        limits = self._limits
        return aiohttp.ClientSession(
            # How many there are is up to the pools, which tell waiting from connecting.
            connector=aiohttp.TCPConnector(
                limit=0, resolver=resolver, keepalive_timeout=30, ssl=tls
            ),
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=limits.connect_s + limits.idle_s,  # looking a name up, CONNECT and TLS
                sock_connect=limits.connect_s,
                sock_read=limits.idle_s,
            ),
            headers={"User-Agent": f"simple-repository-server/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._direct, self._by_proxy):
            if session is not None:
                await session.close()
        self._direct = self._by_proxy = self._guard = None

    def proxy_for(self, url: str) -> Proxy | None:
        """The proxy that a request to that address goes through."""
        return self._egress.proxies.for_url(url)

    async def request(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """The answer of one request, whatever it is.

        Raises whatever the library does, and `PrivateAddress`.
        """
        address, target = _target(url)
        if self._direct is None or self._by_proxy is None or self._guard is None:
            raise RepositoryError(
                f"The repository {self._label} is not open: use it in `async with`, or serve it."
            )
        proxy = self.proxy_for(url)
        if proxy is None:
            await self._guard.check_literal(address.host)
            return await self._direct.request(
                method, target, headers=headers, allow_redirects=False
            )
        check_for_proxy(address.host, self._own_host)
        # What is for the proxy goes into the head of a tunnel, never into what goes through it.
        tunnel = address.scheme == "https"
        response = await self._by_proxy.request(
            method,
            target,
            headers=headers if tunnel else {**headers, **proxy.headers},
            allow_redirects=False,
            proxy=URL(proxy.url),
            proxy_headers=proxy.headers if tunnel else None,
        )
        # In a tunnel that is the word of the origin: the proxy said so to CONNECT.
        if response.status == _PROXY_AUTHENTICATION_REQUIRED and not tunnel:
            response.close()
            raise aiohttp.ClientHttpProxyError(
                response.request_info, (), status=response.status, message=""
            )
        return response


@lru_cache(maxsize=_REMEMBERED)
def _target(url: str) -> tuple[HttpAddress, URL]:
    """The parts of the address, and the address for the library, which must read it as we did.

    Raises `ValueError`.
    """
    address = parse_http(url)
    target = URL(address.bare.partition("#")[0], encoded=True)
    host = (target.raw_host or "").lower()
    if (target.scheme.lower(), host, target.port, target.raw_user) != (*address.origin, None):
        raise ValueError("an address that can be read in two ways")
    return address, target
