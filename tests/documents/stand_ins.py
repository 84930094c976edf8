"""Stand-ins on loopback for the hosts that documents name, PyPI among them.

The command reaches them as it would the real ones, by https through a proxy, so that what a
document shows runs as it stands.
"""

import ssl
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import trustme

from simple_repository_server.config.load import pypi_url
from simple_repository_server.testing.upstream import Upstream
from tests.forward_proxy import ForwardProxy, TlsFront


class StandIns:
    """Real servers in the place of https hosts; use it in `with`.

    `folder` gets the certificate of the authority that vouches for them.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._ca_file = folder / "stand-ins.pem"
        self._authority.cert_pem.write_to_path(str(self._ca_file))
        self._ports: dict[str, int] = {}
        self._proxy = ForwardProxy(self._ports)
        self._stack = ExitStack()
        self._hosts: dict[str, Upstream] = {}

    def host(self, name: str) -> Upstream:
        """The stand-in for that host."""
        if name not in self._hosts:
            upstream = self._stack.enter_context(Upstream())
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._authority.issue_cert(name).configure_cert(context)
            front = TlsFront(urlsplit(upstream.url).port or 0, context)
            self._ports[name] = self._stack.enter_context(front).port
            self._hosts[name] = upstream
        return self._hosts[name]

    @property
    def pypi(self) -> Upstream:
        """The stand-in for PyPI."""
        return self.host(urlsplit(pypi_url()).netloc)

    @property
    def environment(self) -> dict[str, Any]:
        """The variables with which a program reaches the stand-ins, and nothing else."""
        return {
            "HTTPS_PROXY": self._proxy.url,
            "HTTP_PROXY": self._proxy.url,
            "NO_PROXY": "127.0.0.1",
            "SSL_CERT_FILE": str(self._ca_file),
        }

    def __enter__(self) -> Self:
        self._stack.enter_context(self._proxy)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
