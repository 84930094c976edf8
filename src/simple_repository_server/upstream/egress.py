"""How requests leave this machine: which proxies are used, and which certificates are trusted."""

import os
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from simple_repository_server.errors import os_reason
from simple_repository_server.upstream.proxies import Proxies, proxies_from

#: Of a file: its inode, size and time of change.
Stamp = tuple[int, int, int]


class Egress(msgspec.Struct, frozen=True, kw_only=True):
    """Proxies and certificates; by default no proxy, and the authorities the system trusts."""

    proxies: Proxies = Proxies()
    #: Files (or folders in OpenSSL's layout) of authorities to trust in addition to the system's.
    authorities: tuple[Path, ...] = ()
    #: A certificate (PEM) that is presented to the index itself, and to no other origin.
    client_cert: Path | None = None
    #: Its key; None: it is in the same file.
    client_key: Path | None = None
    #: Differs once one of these files is another one, or has other content (see `stamps_of`).
    stamps: tuple[Stamp | None, ...] = ()

    def tls_context(self, *, presents_client_cert: bool = False) -> ssl.SSLContext:
        """The context that TLS connections are verified with. Blocks while it reads files.

        Raises `ValueError` with a text for people if certificates cannot be read.
        """
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        for path in self.authorities:
            _load(context, path, name=str(path))
        if presents_client_cert and self.client_cert is not None:
            _load_client_cert(context, self.client_cert, self.client_key)
        return context


def egress_from(
    environment: Mapping[str, str], *, proxy: str | None = None, ca_file: Path | None = None
) -> Egress:
    """The proxies and certificates of the environment and of the options `--proxy` and `--ca-file`.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's certificates, as in OpenSSL; those of
    `REQUESTS_CA_BUNDLE` and `ca_file` are added. Raises `ValueError` with a text for people if any
    of these is unusable; none is ignored silently.
    """
    proxies = proxies_from(environment, option=proxy)
    given = [("SSL_CERT_FILE", Path(environment.get("SSL_CERT_FILE", "")))]
    given.append(("REQUESTS_CA_BUNDLE", Path(environment.get("REQUESTS_CA_BUNDLE", ""))))
    if ca_file is not None:
        given.append(("--ca-file", ca_file))
    used = [(name, path) for name, path in given if path != Path()]
    for name, path in used:
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path, name=f"{name} {path}")
    folders = environment.get("SSL_CERT_DIR", "")
    if folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
        raise ValueError(f"SSL_CERT_DIR {folders}: no such directory. Correct it, or unset it.")
    added = tuple(path.absolute() for name, path in used if name != "SSL_CERT_FILE")
    return Egress(proxies=proxies, authorities=added, stamps=stamps_of(path for _, path in used))


def stamps_of(paths: Iterable[Path | None]) -> tuple[Stamp | None, ...]:
    """What changes with the content of each file, so that a reload reads it again."""
    return tuple(_stamp(path) for path in paths if path is not None)


def _stamp(path: Path) -> Stamp | None:
    try:
        stat = path.stat()
    except OSError:  # whoever reads it reports that
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _load(context: ssl.SSLContext, path: Path, *, name: str) -> None:
    try:
        if path.is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:  # an OSError, too
        raise ValueError(f"{name} has no certificate in PEM form.") from error
    except OSError as error:
        reason = os_reason(error)
        raise ValueError(f"{name} cannot be read: {reason}.") from error


def _load_client_cert(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    for path in (cert, key):
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {os_reason(error)}.") from error
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password=_no_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise ValueError(
            f"{cert} and {key or 'the key in it'} are no certificate with its unencrypted key, "
            "in PEM form."
        ) from error


def _no_password() -> str:
    raise ValueError("the key is encrypted")
