"""One request and its answer: directly or through a proxy, to an address that was checked.

Features of the HTTP library that would bypass our rules are off: it reads neither the environment
nor a netrc file, follows no redirects, stores no cookies and decodes no bodies.
"""

import asyncio
import ssl
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

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
#: A body of this size is received in full whether it is read or not, which frees its connection.
SHORT_BYTES = _READ_BYTES
_PROXY_AUTHENTICATION_REQUIRED = 407
#: Of how many addresses the parts are remembered: the same few pages and files are requested often.
_REMEMBERED = 128


class Transport:
    """Connections for the index at `url`, called `label` in errors, as `egress` prescribes.

    `session`, if given, sends all requests instead of sessions made here, and is not closed.
    """

    def __init__(
        self,
        url: str,
        *,
        label: str,
        limits: Limits,
        egress: Egress,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._url = url
        own = parse_http(url)
        self._own_host, self._own_origin = own.host, own.origin
        self._label = label
        self._limits = limits
        self._egress = egress
        self._given = session
        #: What a session made here has as its default.
        self._options: dict[str, Any] = {}
        #: The same for requests to the index's own origin, which alone sees a client certificate.
        self._own_options: dict[str, Any] = {}
        self._direct: aiohttp.ClientSession | None = None
        self._by_proxy: aiohttp.ClientSession | None = None
        self._guard: GuardedResolver | None = None

    async def open(self) -> None:
        """Prepare for requests. Raises `ValueError` if certificates cannot be read."""
        tls: ssl.SSLContext | bool = True
        own_by_proxy = self.proxy_for(self._url) is not None
        self._guard = GuardedResolver(self._own_host, own_by_proxy=own_by_proxy)
        if self._given is not None:
            self._direct = self._by_proxy = self._given
            self._options = {
                "timeout": self._timeout,
                "auto_decompress": False,
                "read_bufsize": _READ_BYTES,
                "raise_for_status": False,
            }
            self._own_options = self._options
            return
        if self._egress.authorities:
            tls = await asyncio.to_thread(self._egress.tls_context)
        if self._egress.client_cert is not None:
            presenting = partial(self._egress.tls_context, presents_client_cert=True)
            self._own_options = {"ssl": await asyncio.to_thread(presenting)}
        self._direct = self._session(self._guard, tls)
        # The operator configured the proxy's address: it is not checked.
        self._by_proxy = self._session(DefaultResolver(), tls)

    def _session(
        self, resolver: AbstractResolver, tls: ssl.SSLContext | bool
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # Connections are limited by the pools, which tell waiting from connecting.
            connector=aiohttp.TCPConnector(
                limit=0, resolver=resolver, keepalive_timeout=30, ssl=tls
            ),
            timeout=self._timeout,
            headers={"User-Agent": f"simple-repository-server/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
            trust_env=False,
        )

    @property
    def _timeout(self) -> aiohttp.ClientTimeout:
        limits = self._limits
        return aiohttp.ClientTimeout(
            total=None,
            connect=limits.connect_s + limits.idle_s,  # looking a name up, CONNECT and TLS
            sock_connect=limits.connect_s,
            sock_read=limits.idle_s,
        )

    async def close(self) -> None:
        """Close all connections, but those of a session that was given."""
        for session in (self._direct, self._by_proxy):
            if session is not None and session is not self._given:
                await session.close()
        if self._given is not None and self._guard is not None:
            await self._guard.close()  # else its connector does
        self._direct = self._by_proxy = self._guard = None

    def proxy_for(self, url: str) -> Proxy | None:
        """The proxy for a request to that address; None for a direct connection."""
        return self._egress.proxies.for_url(url)

    async def request(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """The answer to one request, of any status.

        Raises the exceptions of the HTTP library, `ValueError` and `PrivateAddress`.
        """
        address, target = _target(url)
        if self._direct is None or self._by_proxy is None or self._guard is None:
            raise RepositoryError(
                f"The repository {self._label} is not open: use it in `async with`, or serve it."
            )
        own = address.origin == self._own_origin
        options = self._own_options if own else self._options
        proxy = self.proxy_for(url)
        if proxy is None:
            await self._guard.check_literal(address.host)
            if self._given is not None:
                await self._guard.check_name(address.host)
            return await self._direct.request(
                method, target, headers=headers, allow_redirects=False, **options
            )
        check_for_proxy(address.host, self._own_host)
        # Headers for the proxy go into CONNECT, never through the tunnel.
        tunnel = address.scheme == "https"
        response = await self._by_proxy.request(
            method,
            target,
            headers=headers if tunnel else {**headers, **proxy.headers},
            allow_redirects=False,
            proxy=URL(proxy.url),
            proxy_headers=proxy.headers if tunnel else None,
            **options,
        )
        # Through a tunnel the status is the origin's: the proxy would have answered CONNECT so.
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
