"""Credentials, each of which belongs to one origin (scheme, host, port) and never leaves it."""

import netrc
from base64 import b64encode
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from typing_extensions import override

from simple_repository_server.wire.urls import origin_of, without_credentials

Origin = tuple[str, str, int]


class Credentials(msgspec.Struct, frozen=True):
    """A user and a password for one origin; neither shows in its `repr`."""

    origin: Origin
    user: str
    password: str

    @override
    def __repr__(self) -> str:
        return f"Credentials(origin={self.origin!r}, user=…, password=…)"

    @property
    def secret(self) -> bytes:
        """All of it, so that no two are alike; for a keyed digest, and nothing else."""
        return msgspec.json.encode([self.user, self.password])

    def header_for(self, url: str) -> dict[str, str]:
        """The `Authorization` header for a request to that address: none for another origin."""
        if origin_of(url) != self.origin:
            return {}
        pair = f"{self.user}:{self.password}".encode()
        return {"Authorization": f"Basic {b64encode(pair).decode()}"}


def split_credentials(url: str) -> tuple[str, Credentials | None]:
    """An address without `user:password@`, and these as credentials for its origin.

    Raises `ValueError` for what is no http(s) address.
    """
    parts = urlsplit(url)
    bare = without_credentials(url)
    origin = origin_of(bare)
    if parts.username is None and parts.password is None:
        return bare, None
    return bare, Credentials(origin, unquote(parts.username or ""), unquote(parts.password or ""))


def netrc_credentials(path: Path, url: str) -> Credentials | None:
    """What the netrc file has for the host of `url`, or None.

    The `default` entry is left alone: it would send a password to every index there is.
    Raises `ValueError` with a text for people if the file cannot be read or understood.
    """
    origin = origin_of(url)
    try:
        hosts = netrc.netrc(path).hosts
    except netrc.NetrcParseError as error:
        # Not its message: that quotes the file, which is full of passwords.
        raise ValueError(f"{path} cannot be understood near line {error.lineno}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error.__class__.__name__})") from error
    entry = hosts.get(origin[1]) if origin[1] != "default" else None
    if entry is None:
        return None
    login, account, password = entry
    return Credentials(origin, login or account or "", password or "")
