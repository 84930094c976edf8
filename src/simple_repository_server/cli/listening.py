"""The listening sockets: opened first, so that a taken port is reported at once."""

import errno
import socket
from typing import Any

from simple_repository_server.errors import os_reason

#: How many connections the kernel accepts on its own while the event loop is busy.
BACKLOG = 2048


class PortTaken(Exception):
    """Another program listens on the port, or the address is not of this machine."""


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets for one address; port 0 picks a free one. Raises `PortTaken`.

    With several, the kernel distributes connections evenly by a hash of their addresses
    (`SO_REUSEPORT`): one socket shared by processes gave all to one of them when connections came
    one by one. The first is bound without that option, so it fails where any program listens,
    another server of ours included, and none can bind the port in between.
    """
    try:
        family, address = _resolve(host, port)
        sockets = [_open(family, address, shared=False)]
        if count > 1:
            sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        address = sockets[0].getsockname()
        sockets += [_open(family, address, shared=True) for _ in range(1, count)]
    except OSError as error:
        reason = os_reason(error)
        raise PortTaken(
            f"cannot listen on {host or repr(host)} port {port} ({reason}). Choose another with "
            "--host or --port (0 picks a free one)."
        ) from error
    return sockets


def _open(family: socket.AddressFamily, address: Any, *, shared: bool) -> socket.socket:
    listener = socket.socket(family, proto=socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """The address of a host, which may be a name; IPv4 where it has both. Raises `OSError`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if host else []
    except UnicodeError:
        found = []
    if not found:
        raise OSError(errno.EINVAL, "no address")
    family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, address
