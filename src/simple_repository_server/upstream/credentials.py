"""Credentials: each belongs to one origin (scheme, host, port) and is sent nowhere else."""

import netrc
from base64 import b64encode
from pathlib import Path
from urllib.parse import unquote

import msgspec
from typing_extensions import override

from simple_repository_server.wire.urls import HttpAddress, origin_of, parse_http

Origin = tuple[str, str, int]


class Credentials(msgspec.Struct, frozen=True):
    """A user and a password for one origin; its `repr` shows neither."""

    origin: Origin
    user: str
    password: str

    @override
    def __repr__(self) -> str:
        return f"Credentials(origin={self.origin!r}, user=…, password=…)"

    @property
    def secret(self) -> bytes:
        """User and password as bytes that differ for different ones; only for a keyed digest."""
        return msgspec.json.encode([self.user, self.password])

    def header_for(self, url: str) -> dict[str, str]:
        """The `Authorization` header for a request to that address; empty for another origin."""
        if origin_of(url) != self.origin:
            return {}
        return {"Authorization": basic(self.user, self.password)}


def basic(user: str, password: str) -> str:
    """The value of a header with these credentials (RFC 7617)."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def split_credentials(url: str) -> tuple[str, Credentials | None]:
    """An address without `user:password@`, and these as credentials for its origin.

    Raises `ValueError` for what is no http(s) address.
    """
    address = parse_http(url)
    return address.bare, credentials_in(address)


def credentials_in(address: HttpAddress) -> Credentials | None:
    """The credentials in an address, for its origin."""
    if not address.userinfo:
        return None
    user, _, password = address.userinfo.partition(":")
    return Credentials(address.origin, unquote(user), unquote(password))


def netrc_credentials(path: Path, url: str) -> Credentials | None:
    """The entry of the netrc file for the host of `url`, or None.

    The `default` entry is ignored: it would send a password to every index.
    Raises `ValueError` with a text for people if the file cannot be read or parsed.
    """
    origin = origin_of(url)
    try:
        hosts = netrc.netrc(path).hosts
    except netrc.NetrcParseError as error:
        # Not its message, which quotes the file and so may contain a password.
        raise ValueError(f"{path} cannot be parsed near line {error.lineno}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error.__class__.__name__})") from error
    entry = hosts.get(origin[1]) if origin[1] != "default" else None
    if entry is None:
        return None
    login, account, password = entry
    return Credentials(origin, login or account or "", password or "")
