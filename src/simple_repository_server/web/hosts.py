"""Which hosts a request may name: the protection against DNS rebinding.

A web page on `evil.example`, whose name is made to resolve to 127.0.0.1, can have a browser on this
machine send requests to this server and read the answers: to the browser they come from
`evil.example`. But the Host header names it (RFC 9110 §7.2), so requests for another host are
rejected as misdirected (421, §7.4 and §15.5.20). No such page can be at a bare address, or at
`localhost`.
"""

import ipaddress
import re
from collections.abc import Iterable

#: A registered name or an address, perhaps in brackets, and perhaps a port (RFC 3986 §3.2).
_AUTHORITY = re.compile(r"(\[[^\[\]@/]*\]|[^:\[\]@/]*)(?::[0-9]*)?")


class HostRule:
    """Allows addresses, `localhost`, and `names`; `*.name` is any subdomain, `*` any host."""

    def __init__(self, names: Iterable[str]) -> None:
        lower = {name.lower().rstrip(".") for name in names}
        self._all = "*" in lower
        self._names = frozenset({"localhost", *lower})
        self._endings = (".localhost", *(name[1:] for name in lower if name.startswith("*.")))

    def allows(self, host: str) -> bool:
        """Whether a request with that Host header is answered; one without (`""`) is."""
        if self._all or not host:
            return True
        found = _AUTHORITY.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower().rstrip(".")
        return name in self._names or name.endswith(self._endings) or _is_address(name)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host[1:-1] if host.startswith("[") else host)
    except ValueError:
        return False
    return True
