"""Secrets of the file: from the environment, or from files that only their owner can read."""

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from simple_repository_server.config.addresses import expanded
from simple_repository_server.errors import os_reason

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OTHERS = 0o077
_MAX_BYTES = 64 * 1024


def filled(text: str, environment: Mapping[str, str]) -> str:
    """The text with each `${NAME}` replaced by that environment variable.

    Raises `ValueError` for a variable that is unset or empty.
    """

    def value_of(found: re.Match[str]) -> str:
        value = environment.get(found[1])
        if not value:
            raise ValueError(
                f"the environment variable {found[1]} is not set or is empty; set it, or correct "
                "its name"
            )
        return value

    return _VARIABLE.sub(value_of, text)


def filled_proxy(text: str, environment: Mapping[str, str]) -> str:
    """The address of a proxy, whose variables in user and password are percent-encoded.

    Raises `ValueError` for a variable that is unset or empty.
    """
    return expanded(text if "://" in text or "@" not in text else f"http://{text}", environment)


def password_in(address: str) -> str:
    """What stands where a URL has its password, or a proxy without a scheme; "" if nothing does."""
    return address.rpartition("://")[2].rpartition("@")[0].partition(":")[2]


def is_written_out(text: str) -> bool:
    """Whether a secret stands in the text itself, not only in the variables that it names."""
    return bool(_VARIABLE.sub("", text))


def exposure(path: Path) -> str:
    """How others than its owner can reach the file, with the remedy; "" if they cannot."""
    mode = path.stat().st_mode
    if not mode & _OTHERS:
        return ""
    return (
        f"others than its owner have access to {path} (mode {stat.S_IMODE(mode):04o}); run: "
        f"chmod 600 {path}"
    )


def read_secret(path: Path) -> str:
    """The secret in a file, without the end of its line.

    Raises `ValueError` with what is wrong and its remedy, which quotes nothing of the content.
    """
    try:
        exposed = exposure(path)
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {os_reason(error)}; correct the path") from error
    except ValueError as error:
        raise ValueError(f"{path} is not UTF-8 text; write the password alone into it") from error
    if exposed:
        raise ValueError(exposed)
    secret = text.rstrip("\r\n")
    if not secret or "\n" in secret or len(content) > _MAX_BYTES:
        raise ValueError(f"{path} must contain one line; write the password alone into it")
    return secret
