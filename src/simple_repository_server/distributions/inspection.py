"""Reading a local distribution file once for all that its page says about it."""

import hashlib
from pathlib import Path

from simple_repository_server.distributions.metadata import read_local_metadata, requires_python
from simple_repository_server.errors import Malformed
from simple_repository_server.storage.digests import Facts


def inspect(path: Path) -> Facts:
    """What can be found out by reading the file; blocks for as long as that takes.

    Raises `OSError` as opening and reading do.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        metadata = read_local_metadata(path)
    except Malformed as error:
        return Facts(sha256=sha256, problem=str(error))
    if metadata is None:
        return Facts(sha256=sha256)
    digest = hashlib.sha256(metadata).hexdigest() if path.name.endswith(".whl") else None
    return Facts(sha256=sha256, metadata_sha256=digest, requires_python=requires_python(metadata))
