"""Traces: what a client requested, in which order and how many at once, as data.

They name projects, not addresses or machines, so that they can be replayed against any index.
"""

from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent / "traces"


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request of a client."""

    kind: str  #: `page`, `metadata` or `file`
    project: str
    headers: dict[str, str]
    #: How many of the requests before it were answered when it was sent.
    after: int = 0
    #: How long the client did something else before it, in ms.
    pause_ms: int = 0
    #: It revalidates what it has: `If-None-Match` with the ETag of the last answer.
    conditional: bool = False


class Trace(msgspec.Struct, frozen=True):
    """What one client requested."""

    name: str
    client: str
    requests: list[Request]


def read_traces() -> list[Trace]:
    """The recorded ones, by name."""
    return [
        msgspec.json.decode(path.read_bytes(), type=Trace) for path in sorted(FOLDER.glob("*.json"))
    ]
