"""From the `[sources.NAME]` tables of the file to sources, with all checks of one source."""

import ipaddress
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from simple_repository_server.config.addresses import is_address, parse_address, with_credentials
from simple_repository_server.config.file_config import OwnEgress
from simple_repository_server.config.file_model import SourceTable, keys_of
from simple_repository_server.config.load import (
    PYPI,
    BadSetting,
    identity,
    netrc_file,
    pypi_url,
    with_netrc,
)
from simple_repository_server.config.mistakes import KeyPath, Report
from simple_repository_server.config.paths import path_in
from simple_repository_server.config.secrets import (
    exposure,
    filled,
    filled_proxy,
    is_written_out,
    password_in,
    read_secret,
)
from simple_repository_server.config.settings import DirectorySource, IndexSource, Source
from simple_repository_server.errors import os_reason
from simple_repository_server.upstream.egress import Egress
from simple_repository_server.upstream.limits import Limits
from simple_repository_server.upstream.proxies import proxies_from
from simple_repository_server.wire.urls import origin_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
BAD_NAME = "a name consists of letters, digits, '-', '_' and '.'; choose such a name"
#: The keys that a directory has.
_OF_DIRECTORIES = {"path", "rules"}


class ReadSource(msgspec.Struct, frozen=True, kw_only=True):
    """A source of the file."""

    source: Source
    own: OwnEgress | None = None


class SourceContext(msgspec.Struct, frozen=True, kw_only=True):
    """What else a source depends on."""

    report: Report
    environment: Mapping[str, str]
    #: The configuration file.
    file: Path

    def path(self, text: str) -> Path:
        """A path of the file: relative ones are relative to its folder."""
        return path_in(self.file.parent, text)


def read_source(
    name: str, keys: set[str], read: SourceTable, context: SourceContext
) -> ReadSource | None:
    """The source of a table with these keys; None if it is wrong, which is reported."""
    where: KeyPath = ("sources", name)
    report = context.report
    if not NAME.fullmatch(name):
        report.add(where, BAD_NAME)
    if ("url" in keys) == ("path" in keys):
        both = "a source has a url or a path, not both; remove one"
        report.add(where, both if "url" in keys else "it has neither url nor path; add one")
        return None
    if "path" in keys:
        for key in sorted(keys & set(keys_of(SourceTable)) - _OF_DIRECTORIES):
            report.add(
                (*where, key), "it is for sources with a url, not for directories; remove it"
            )
        return _directory(name, read, where, context)
    index = _index(read, where, context)
    own = _own_egress(read, where, context)
    if index is None:
        return None
    index = msgspec.structs.replace(
        index,
        name=name,
        forbidden_means_absent=read.forbidden == "absent",
        files=read.files,
        limits=_limits(read),
        stale_if_error_s=read.stale_if_error,
        stale_while_revalidate_s=read.stale_while_revalidate,
    )
    return ReadSource(source=index, own=own)


def report_same_sources(sources: Sequence[ReadSource], report: Report) -> None:
    """Report sources that are the same place with the same credentials."""
    names: dict[object, str] = {}
    for one in sources:
        first = names.setdefault(identity(one.source), one.source.name)
        if first != one.source.name:
            key = "path" if isinstance(one.source, DirectorySource) else "url"
            text = f"it is the same as that of sources.{first}; remove one of the two sources"
            report.add(("sources", one.source.name, key), text)


def _directory(
    name: str, read: SourceTable, where: KeyPath, context: SourceContext
) -> ReadSource | None:
    if read.path is None:
        return None
    path = context.path(read.path).absolute()
    problem = _unusable(path)
    if problem:
        context.report.add((*where, "path"), problem)
        return None
    return ReadSource(source=DirectorySource(path=path, name=name))


def _unusable(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else "not a valid path"
        return f"{path}: {reason}; write the path of an existing directory"
    if not stat.S_ISDIR(mode):
        return f"{path} is not a directory; write the directory that contains the file"
    if not os.access(path, os.R_OK | os.X_OK):
        return f"{path} is not readable; correct its permissions"
    return ""


def _index(read: SourceTable, where: KeyPath, context: SourceContext) -> IndexSource | None:
    report, environment = context.report, context.environment
    if read.url is None:
        return None
    if read.url == PYPI:
        index = IndexSource(url=pypi_url())
    else:
        if not is_address(read.url, environment):
            text = "it is not an http(s) URL; write https://…, or path = … for a directory"
            report.add((*where, "url"), text)
            return None
        try:
            index = parse_address(read.url, environment)
        except ValueError as error:
            report.add((*where, "url"), f"it is not a valid URL of a simple index: {error}")
            return None
    check_written_out(password_in(read.url), (*where, "url"), context)
    return _with_credentials(index, read, where, context)


def _with_credentials(
    index: IndexSource, read: SourceTable, where: KeyPath, context: SourceContext
) -> IndexSource | None:
    report = context.report
    given = {key for key in ("user", "password", "password_file") if key in read.model_fields_set}
    if given and index.user is not None:
        report.add((*where, "url"), "it contains a user, and the source has keys for it, too; "
                   "remove it from the URL")  # fmt: skip
    if {"password", "password_file"} <= given:
        report.add((*where, "password-file"), "the source has a password, too; remove one of them")
    if given and "user" not in given:
        report.add(where, "it has a password, but no user; add user")
    user = _filled(read.user, (*where, "user"), context)
    password = _filled(read.password, (*where, "password"), context)
    if read.password is not None:
        check_written_out(read.password, (*where, "password"), context)
    if read.password_file is not None:
        try:
            password = read_secret(context.path(read.password_file))
        except ValueError as error:
            report.add((*where, "password-file"), str(error))
    if given and not report.has(where):
        index = with_credentials(index, user or "", password or "")
    if not given and index.user is None:
        index = _from_netrc(index, where, context)
    if (index.password or password) and index.url.startswith("http:") and not _is_loopback(index):
        report.add((*where, "url"), "its password would be sent without encryption; write https://")
    return index


def _from_netrc(index: IndexSource, where: KeyPath, context: SourceContext) -> IndexSource:
    environment = context.environment
    try:
        return with_netrc(index, netrc_file(environment), explicit="NETRC" in environment)
    except BadSetting as error:
        context.report.add(where, str(error))
        return index


def _is_loopback(index: IndexSource) -> bool:
    host = origin_of(index.url)[1]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _filled(text: str | None, where: KeyPath, context: SourceContext) -> str | None:
    """The text with its variables replaced; what is wrong with these is reported."""
    try:
        return None if text is None else filled(text, context.environment)
    except ValueError as error:
        context.report.add(where, str(error))
        return None


def check_written_out(secret: str, where: KeyPath, context: SourceContext) -> None:
    """Report a password that stands in the file, if others can read that."""
    exposed = exposure(context.file) if is_written_out(secret) else ""
    if exposed:
        context.report.add(where, f"the password is written out, and {exposed}; or write ${{NAME}} "
                           "for an environment variable, or use password-file")  # fmt: skip


def _own_egress(read: SourceTable, where: KeyPath, context: SourceContext) -> OwnEgress | None:
    report = context.report
    proxies = None
    if read.proxy is not None:
        check_written_out(password_in(read.proxy), (*where, "proxy"), context)
        try:
            option = filled_proxy(read.proxy, context.environment)
            proxies = proxies_from(context.environment, option=option)
        except ValueError as error:
            sentence = str(error).replace("--proxy none", 'proxy = "none"').replace("--proxy", "it")
            report.add((*where, "proxy"), sentence)
    files = [None if one is None else context.path(one).absolute()
             for one in (read.ca_file, read.client_cert, read.client_key)]  # fmt: skip
    ca_file, cert, key = files
    if ca_file is not None:
        _check_tls(Egress(authorities=(ca_file,)), (*where, "ca-file"), report)
    if key is not None and read.client_cert is None:
        report.add((*where, "client-key"), "there is no client-cert to which it belongs; add that")
    elif cert is not None:
        at = (*where, "client-cert")
        if _check_tls(Egress(client_cert=cert, client_key=key), at, report):
            exposed = exposure(key or cert)
            if exposed:
                report.add((*where, "client-key") if key else at, exposed)
    if proxies is None and not any(files):
        return None
    return OwnEgress(proxies=proxies, ca_file=ca_file, client_cert=cert, client_key=key)


def _check_tls(egress: Egress, where: KeyPath, report: Report) -> bool:
    try:
        egress.tls_context(presents_client_cert=True)
    except ValueError as error:
        report.add(where, f"{str(error).rstrip('.')}; correct the path or the file")
        return False
    return True


def _limits(read: SourceTable) -> Limits | None:
    given = {
        "connect_s": read.connect_timeout,
        "idle_s": read.idle_timeout,
        "page_s": read.page_timeout,
        "file_s": read.file_timeout,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(Limits(), **changed) if changed else None
