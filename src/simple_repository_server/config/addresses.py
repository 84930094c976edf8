"""The URL of an index as the user wrote it: variables expanded, and what of it may be shown."""

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
#: Characters that no host contains.
_NO_HOST = re.compile(r"[\s<>\"\\^`{|}%]")
#: Characters that no URL contains.
_NO_ADDRESS = re.compile(r"[\x00-\x20\x7f]")
#: A host with an optional numeric port, unlike `user:password` whose '@' was forgotten.
_HOST_AND_PORT = re.compile(r"[^:@]*(:[0-9]*)?|\[[^@]*\](:[0-9]*)?")
_PLAIN_PATH = re.compile(r"(?!.*(//|:))[/.~].*", re.DOTALL)
_ENCODE = (
    "it contains an '@' after its host. In a user name or password write '/' as %2F, '?' as %3F, "
    "'#' as %23 and '@' as %40, or use variables: https://${USER}:${PASSWORD}@…"
)


def is_address(text: str, environment: Mapping[str, str]) -> bool:
    """Whether a SOURCE is meant as the URL of an index, not as a directory.

    One that begins with `${NAME}` is, if the variable's value begins with a scheme or is unset.
    """
    first = _VARIABLE.match(text)
    if first is not None:
        text = environment.get(first[1], "http:") + text[first.end() :]
    return "://" in text or text.lower().startswith(("http:", "https:"))


def parse_address(text: str, environment: Mapping[str, str]) -> IndexSource:
    """The index at a URL, in which each `${NAME}` is replaced by that environment variable.

    Raises `ValueError` if it is not a valid URL. The message quotes nothing of it.
    """
    if _has_at_after_authority(text):
        raise ValueError(_ENCODE)
    full = expanded(text, environment)
    if _has_at_after_authority(full):
        raise ValueError(_ENCODE)
    try:
        url, credentials = split_credentials(full)
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        # Its message may quote the URL, or a password that was parsed as a port.
        raise ValueError(
            "it needs http:// or https://, a host and, if any, a valid port"
        ) from error
    if _NO_HOST.search(parts.netloc) or _NO_ADDRESS.search(url):
        raise ValueError("it contains characters that are invalid in a URL")
    if "?" in url or "#" in url:
        raise ValueError("the URL of an index must not contain '?' or '#'")
    template = without_credentials(text)
    source = IndexSource(url=url, label=template if _VARIABLE.search(template) else "")
    if credentials is None:
        return source
    return with_credentials(source, credentials.user, credentials.password)


def with_credentials(source: IndexSource, user: str, password: str) -> IndexSource:
    """The same index, with the credentials of a user."""
    return IndexSource(url=source.url, label=source.label, user=user, password=password)


def is_safe_to_show(text: str) -> bool:
    """Whether a SOURCE, valid or not, certainly contains no secret."""
    if "://" not in text and not text.lower().startswith(("http:", "https:")):
        return "@" not in text or _PLAIN_PATH.fullmatch(text) is not None
    rest = _SCHEME.sub("", text)
    return not set(rest) & set("@?#") and _HOST_AND_PORT.fullmatch(_authority(rest)) is not None


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """A URL with each `${NAME}` replaced by that environment variable.

    In user and password the value is percent-encoded, elsewhere it is inserted as it is. Raises
    `ValueError` for a variable that is unset or empty.
    """
    scheme, separator, rest = text.partition("://")
    user_info, at, others = rest.rpartition("@")

    def value_of(found: re.Match[str]) -> str:
        value = environment.get(found[1])
        if not value:
            raise ValueError(
                f"the environment variable {found[1]} is not set or is empty; set it, or correct "
                "its name"
            )
        return value

    user_info = _VARIABLE.sub(lambda found: quote(os.fsencode(value_of(found)), safe=""), user_info)
    return (
        _VARIABLE.sub(value_of, scheme + separator)
        + user_info
        + at
        + _VARIABLE.sub(value_of, others)
    )


def _has_at_after_authority(text: str) -> bool:
    rest = text.partition("://")[2]
    return "@" in rest[len(_authority(rest)) :]


def _authority(rest: str) -> str:
    return _END_OF_AUTHORITY.split(rest, maxsplit=1)[0]
