"""The explanation of a running server."""

import base64
import http.client
import urllib.error
import urllib.request
from http import HTTPStatus
from urllib.parse import quote

import msgspec

from simple_repository_server.explanation import Explanation
from simple_repository_server.upstream.credentials import split_credentials

_TIMEOUT_S = 90.0
_MAX_BYTES = 64 * 1024 * 1024
#: What comes of an address that is not that of such a server. RecursionError: of nested JSON.
_NO_EXPLANATION = (
    OSError,
    ValueError,
    http.client.HTTPException,
    msgspec.MsgspecError,
    RecursionError,
)


class CannotAsk(Exception):
    """The server did not answer, or with something else than an explanation."""


class _Answer(msgspec.Struct):
    explanation: Explanation


class _Refusal(msgspec.Struct):
    detail: str


def fetch_explanation(
    url: str, index: str | None, project: str, version: str | None
) -> Explanation:
    """What the server at `url`, or its index of that name, answers at `/why/PROJECT`.

    `url` may be that of the server or of one of its indexes, as installers are given it. Blocks for
    at most 90 s between two parts of the answer. Raises `CannotAsk`.
    """
    try:
        bare, credentials = split_credentials(url)
    except ValueError as error:
        shown = url.rpartition("@")[2]
        raise CannotAsk(f"--url {shown!r} is not an http(s) URL.") from error
    base = bare.rstrip("/").removesuffix("/simple")
    where = f"{base}/{quote(index, safe='')}" if index else base
    query = f"?version={quote(version, safe='')}" if version else ""
    request = urllib.request.Request(  # noqa: S310 - checked above
        f"{where}/why/{project}{query}", headers={"Accept": "application/json"}
    )
    if credentials is not None:
        pair = f"{credentials.user}:{credentials.password}".encode()
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
            body = response.read(_MAX_BYTES)
        return msgspec.json.decode(body, type=_Answer).explanation
    except urllib.error.HTTPError as error:
        raise CannotAsk(
            f"{where}/why/{project} answers with status {error.code}: {_sentence(error)}"
        ) from error
    except _NO_EXPLANATION as error:
        reason = getattr(error, "reason", error)
        raise CannotAsk(f"The server at {where}/ gives no explanation: {reason}.") from error


def _sentence(error: urllib.error.HTTPError) -> str:
    """What our server says of an error; without that, what may be wrong."""
    if error.code != HTTPStatus.NOT_FOUND:
        try:
            return msgspec.json.decode(error.read(_MAX_BYTES), type=_Refusal).detail
        except (OSError, ValueError, msgspec.MsgspecError):
            pass
    return "is it the address of such a server, and has it that index?"
