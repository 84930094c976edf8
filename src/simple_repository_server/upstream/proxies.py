"""Which proxy a request uses; the environment is read as by `curl` and `pip`. Pure functions."""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import unquote

import msgspec
from typing_extensions import override

from simple_repository_server.upstream.credentials import basic
from simple_repository_server.wire.urls import HttpAddress, parse_http

NO_PROXY = "none"
_HOST_AND_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?", re.ASCII)
_SEPARATORS = re.compile(r"[\s,]+")


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """A forward proxy. Its credentials are sent to it only, and are in no text form."""

    #: Without credentials.
    url: str
    user: str | None = None
    password: str = ""

    @override
    def __repr__(self) -> str:
        return f"Proxy(url={self.url!r})"

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that only the proxy may receive."""
        if self.user is None:
            return {}
        return {"Proxy-Authorization": basic(self.user, self.password)}

    @override
    def __str__(self) -> str:
        return self.url


class Proxies(msgspec.Struct, frozen=True, kw_only=True):
    """The proxies for http and https addresses, and the hosts to connect to directly."""

    http: Proxy | None = None
    https: Proxy | None = None
    #: The entries of `NO_PROXY`.
    exempt: tuple[str, ...] = ()

    def for_url(self, url: str) -> Proxy | None:
        """The proxy for a request to an http(s) address; None to connect directly."""
        if self.http is None and self.https is None:
            return None
        address = parse_http(url)
        proxy = self.https if address.scheme == "https" else self.http
        return None if proxy is None or self._is_exempt(address) else proxy

    def _is_exempt(self, address: HttpAddress) -> bool:
        host = address.host.rstrip(".")
        return any(_covers(entry, host, address.port) for entry in self.exempt)


def proxies_from(environment: Mapping[str, str], *, option: str | None = None) -> Proxies:
    """The proxies of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, or of `option`.

    A name in lower case takes precedence, even if it is set to nothing. `option` is the address of
    a proxy for all requests, or `none`; `NO_PROXY` applies to it, too. Raises `ValueError` with a
    text for people, without credentials.
    """
    exempt = tuple(filter(None, _SEPARATORS.split(_value("NO_PROXY", environment)[1])))
    if option is not None:
        proxy = None if option in ("", NO_PROXY) else parse_proxy(option, name="--proxy")
        return Proxies(http=proxy, https=proxy, exempt=exempt)
    found: dict[str, Proxy | None] = {}
    for scheme in ("http", "https"):
        name, text = _value(f"{scheme.upper()}_PROXY", environment)
        if not text:
            name, text = _value("ALL_PROXY", environment)
        found[scheme] = parse_proxy(text, name=name) if text else None
    return Proxies(http=found["http"], https=found["https"], exempt=exempt)


def _value(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    name = name.lower() if name.lower() in environment else name
    return name, environment.get(name, "").strip()


def parse_proxy(text: str, *, name: str) -> Proxy:
    """The proxy at an address (`http://` may be left out), which errors call `name`.

    Raises `ValueError` with a text without the address, which may contain a password.
    """
    if text.lower().startswith("socks"):
        raise ValueError(
            f"{name} is a SOCKS proxy; only HTTP proxies can be used. Give the address of one, "
            "or --proxy none to connect directly."
        )
    try:
        address = parse_http(text if "://" in text else f"http://{text}")
    except ValueError as error:
        raise _no_proxy(name) from error
    user, separator, password = (address.userinfo or "").partition(":")
    if address.rest not in ("", "/") or "%3a" in user.lower():
        raise _no_proxy(name)  # a password with a slash, or a user with a colon (RFC 7617)
    bare = f"{address.scheme}://{_in_brackets(address.host)}:{address.port}"
    has_credentials = bool(user or separator)
    return Proxy(
        url=bare, user=unquote(user) if has_credentials else None, password=unquote(password)
    )


def _no_proxy(name: str) -> ValueError:
    return ValueError(
        f"{name} is not the address of a proxy. Give it as http://user:password@host:port, special "
        "characters in the password percent-encoded, or --proxy none to connect directly."
    )


def _in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of `NO_PROXY` matches that host.

    `*` matches all hosts; an address or a network in CIDR notation matches addresses; a name
    matches itself and its subdomains, with or without a dot or `*.` in front. A port may follow.
    """
    if entry == "*":
        return True
    wanted, wanted_port = _split(entry.lower())
    if wanted_port is not None and wanted_port != port:
        return False
    ip = _ip(host)
    if ip is not None:
        network = _network(wanted)
        return network is not None and ip in network
    name = wanted.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, int | None]:
    if entry.count(":") > 1 and not entry.startswith("["):
        return entry, None  # an IPv6 address without brackets
    found = _HOST_AND_PORT.fullmatch(entry)
    if found is None:
        return entry, None
    return found[1] or found[2] or "", int(found[3]) if found[3] else None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip
