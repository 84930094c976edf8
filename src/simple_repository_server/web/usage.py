"""The commands and settings that have an installer use an index at an address: pure text.

pip and pdm reject an index over plain http unless its host is this machine, so they are given an
option to trust just that host. So is uv, which rejects only https with unknown certificates. With
https there is no such option. IPv6 addresses are quoted, as their brackets are a shell pattern.
"""

import ipaddress
import shlex
from urllib.parse import urlsplit


def install_lines(index: str) -> list[str]:
    """One command for pip and one for uv that install a PROJECT from the index."""
    host = untrusted_host(index)
    index = shlex.quote(index)
    pip = f" --trusted-host {shlex.quote(host)}" if host else ""
    uv = f" --allow-insecure-host {host}" if host and not _is_bracketed(host) else ""
    return [
        f"pip install --index-url {index} PROJECT{pip}",
        f"uv pip install --default-index {index} PROJECT{uv}",
    ]


def settings(index: str) -> list[tuple[str, str]]:
    """The permanent settings of each installer: a title, and the text to copy."""
    host = untrusted_host(index)
    pip = f"[global]\nindex-url = {index}"
    index = shlex.quote(index)
    uv = f"export UV_DEFAULT_INDEX={index}"
    pdm = f"pdm config pypi.url {index}"
    if host:
        pip += f"\ntrusted-host = {host}"
        pdm += "\npdm config pypi.verify_ssl false"
    if host and not _is_bracketed(host):
        uv += f"\nexport UV_INSECURE_HOST={host}"
    return [
        ("pip, in its pip.conf", pip),
        ("uv, in the environment", uv),
        ("poetry, in a project", f"poetry source add --priority=primary index {index}"),
        ("pdm", pdm),
    ]


def _is_bracketed(host: str) -> bool:
    """Whether it is an IPv6 address, which uv misreads as a host with an invalid port."""
    return host.startswith("[")


def untrusted_host(index: str) -> str:
    """The host of an index over plain http on another machine; "" for any other."""
    parts = urlsplit(index)
    host = parts.hostname or ""
    if parts.scheme != "http" or is_loopback(host):
        return ""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host: an address, or `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
