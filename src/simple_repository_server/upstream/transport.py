"""One request and its answer: by the right way, guarded, and over a connection of few.

The library's own ways are off: it reads neither the environment nor a netrc file, follows no
redirect, keeps no cookie and undoes no coding.
"""

import asyncio
import ssl
from collections.abc import Mapping
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
#: What it holds is received in full whether somebody reads it or not: its connection is soon free.
SHORT_BYTES = _READ_BYTES
_PROXY_WANTS_CREDENTIALS = 407


class Transport:
    """Connections for the index at `url`; `egress` is the way out. `label` is what errors say.

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
        self._own_host = parse_http(url).host
        self._label = label
        self._limits = limits
        self._egress = egress
        self._given = session
        #: What a session made here has as its default.
        self._options: dict[str, Any] = {}
        self._direct: aiohttp.ClientSession | None = None
        self._by_proxy: aiohttp.ClientSession | None = None
        self._guard: GuardedResolver | None = None

    async def open(self) -> None:
        """Make ready to send requests. Raises `ValueError` if certificates cannot be read."""
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
            return
        if self._egress.authorities:
            tls = await asyncio.to_thread(self._egress.tls_context)
        self._direct = self._session(self._guard, tls)
        # The address of a proxy is the operator's word: it is not guarded.
        self._by_proxy = self._session(DefaultResolver(), tls)

    def _session(
        self, resolver: AbstractResolver, tls: ssl.SSLContext | bool
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # How many there are is up to the pools, which tell waiting from connecting.
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
        """The proxy that a request to that address goes through."""
        return self._egress.proxies.for_url(url)

    async def request(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """The answer of one request, whatever it is.

        Raises whatever the library does, and `PrivateAddress`.
        """
        address = parse_http(url)
        if self._direct is None or self._by_proxy is None or self._guard is None:
            raise RepositoryError(
                f"The repository {self._label} is not open: use it in `async with`, or serve it."
            )
        target = _target(address)
        proxy = self.proxy_for(url)
        if proxy is None:
            await self._guard.check_literal(address.host)
            if self._given is not None:
                await self._guard.check_name(address.host)
            return await self._direct.request(
                method, target, headers=headers, allow_redirects=False, **self._options
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
            **self._options,
        )
        # In a tunnel that is the word of the origin: the proxy said so to CONNECT.
        if response.status == _PROXY_WANTS_CREDENTIALS and not tunnel:
            response.close()
            raise aiohttp.ClientHttpProxyError(
                response.request_info, (), status=response.status, message=""
            )
        return response


def _target(address: HttpAddress) -> URL:
    """The address for the library, which must read it as we did. Raises `ValueError`."""
    target = URL(address.bare.partition("#")[0], encoded=True)
    host = (target.raw_host or "").lower()
    if (target.scheme.lower(), host, target.port, target.raw_user) != (*address.origin, None):
        raise ValueError("an address that can be read in two ways")
    return target
