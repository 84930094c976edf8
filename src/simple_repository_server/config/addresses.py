"""The address of an index as the user wrote it: secrets filled in, and what of it may be shown."""

import os
import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from simple_repository_server.config.settings import IndexSource
from simple_repository_server.upstream.credentials import split_credentials
from simple_repository_server.wire.urls import without_credentials

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_END_OF_AUTHORITY = re.compile(r"[/?#\\]")
_SCHEME = re.compile(r"^[^:/]*:/*")
_NO_HOST = re.compile(r"[\s<>\"\\^`{|}%]")
_NO_ADDRESS = re.compile(r"[\x00-\x20\x7f]")
#: A host, and a port that is a number: not `user:password` whose '@' was forgotten.
_HOST_AND_PORT = re.compile(r"[^:@]*(:[0-9]*)?|\[[^@]*\](:[0-9]*)?")
_PLAIN_PATH = re.compile(r"(?!.*(//|:))[/.~].*", re.DOTALL)
_ENCODE = (
    "there is an '@' behind its host. In a user name or password write '/' as %2F, '?' as %3F, "
    "'#' as %23 and '@' as %40, or keep it in a variable: https://${USER}:${PASSWORD}@…"
)


def is_address(text: str, environment: Mapping[str, str]) -> bool:
    """Whether a SOURCE is meant as the address of an index, and not as a directory.

    One that begins with a variable is, if that begins with a scheme, or is not set.
    """
    first = _VARIABLE.match(text)
    if first is not None:
        text = environment.get(first[1], "http:") + text[first.end() :]
    return "://" in text or text.lower().startswith(("http:", "https:"))


def parse_address(text: str, environment: Mapping[str, str]) -> IndexSource:
    """The index at that address, each `${NAME}` in it replaced by that environment variable.

    Raises `ValueError` with the reason, which quotes nothing of the address, if it is none.
    """
    if _has_at_behind_authority(text):
        raise ValueError(_ENCODE)
    full = _filled_in(text, environment)
    if _has_at_behind_authority(full):
        raise ValueError(_ENCODE)
    try:
        url, credentials = split_credentials(full)
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        # Not its message: that may quote the address, or the password taken for a port.
        raise ValueError("it needs http:// or https://, a host, and a port that is one") from error
    if _NO_HOST.search(parts.netloc) or _NO_ADDRESS.search(url):
        raise ValueError("there are characters in it that no address has")
    if "?" in url or "#" in url:
        raise ValueError("the address of an index has no '?' or '#' in it")
    template = without_credentials(text)
    source = IndexSource(url=url, label=template if _VARIABLE.search(template) else "")
    if credentials is None:
        return source
    return with_credentials(source, credentials.user, credentials.password)


def with_credentials(source: IndexSource, user: str, password: str) -> IndexSource:
    """The same index, asked as that user."""
    return IndexSource(url=source.url, label=source.label, user=user, password=password)


def is_safe_to_show(text: str) -> bool:
    """Whether nothing in a SOURCE, however it is mistaken, can be a secret."""
    if "://" not in text and not text.lower().startswith(("http:", "https:")):
        return "@" not in text or _PLAIN_PATH.fullmatch(text) is not None
    rest = _SCHEME.sub("", text)
    return not set(rest) & set("@?#") and _HOST_AND_PORT.fullmatch(_authority(rest)) is not None


def _filled_in(text: str, environment: Mapping[str, str]) -> str:
    scheme, separator, rest = text.partition("://")
    user_info, at, others = rest.rpartition("@")

    def value_of(found: re.Match[str]) -> str:
        value = environment.get(found[1])
        if not value:
            raise ValueError(f"the environment variable {found[1]} is not set, or empty")
        return value

    user_info = _VARIABLE.sub(lambda found: quote(os.fsencode(value_of(found)), safe=""), user_info)
    return (
        _VARIABLE.sub(value_of, scheme + separator)
        + user_info
        + at
        + _VARIABLE.sub(value_of, others)
    )


def _has_at_behind_authority(text: str) -> bool:
    rest = text.partition("://")[2]
    return "@" in rest[len(_authority(rest)) :]


def _authority(rest: str) -> str:
    return _END_OF_AUTHORITY.split(rest, maxsplit=1)[0]
