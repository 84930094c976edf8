"""Local distribution files: their identities (`stat`), and what reading them brings out. Blocks."""

import hashlib
import os
import stat
import threading
from collections.abc import Iterable
from typing import BinaryIO

from simple_repository_server.distributions.metadata import read_metadata, requires_python
from simple_repository_server.errors import Malformed, os_reason
from simple_repository_server.opening import LeadsOut, open_regular, stat_beneath, wait_for_tick
from simple_repository_server.sources.local_entries import Found
from simple_repository_server.sources.local_facts import Facts, FileIdentity, identity_of
from simple_repository_server.sources.local_problems import Problems

_READ_BYTES = 1024 * 1024
LEADS_OUT = "it leads out of the directory"
#: Why a file is not served that changes while it is read, or is truncated and young.
STILL_WRITTEN = "it is still being written, as it seems; it is shown as soon as it is whole"

#: What reading a file brought out, and which file that was.
FileFacts = tuple[FileIdentity, Facts]


def identify(files: Iterable[Found], root: str, problems: Problems) -> dict[str, FileIdentity]:
    """The identities of the files and of their metadata files, by path; missing ones are absent.

    Anything but a regular file below `root` is reported.
    """
    identities = {}
    for one in files:
        try:
            state = stat_beneath(one.path, root) if one.is_link else os.stat(one.path)  # noqa: PTH116 - called for each file, often
        except LeadsOut:
            problems.skipped(one.path, LEADS_OUT)
        except FileNotFoundError:
            pass  # removed since the directory was scanned
        except OSError as error:
            problems.skipped(one.path, cannot_be_read(error))
        else:
            if stat.S_ISREG(state.st_mode):
                identities[one.path] = identity_of(one.path, state)
            else:
                problems.skipped(one.path, "it is no regular file")
        if one.has_sidecar and (identity := _identity_at(one.sidecar)):
            identities[one.sidecar] = identity
    return identities


def _identity_at(path: str) -> FileIdentity | None:
    try:
        state = os.stat(path)  # noqa: PTH116 - called for each file, often
    except OSError:
        return None
    return identity_of(path, state) if stat.S_ISREG(state.st_mode) else None


def compute_facts(
    path: str, root: str, problems: Problems, stopping: threading.Event
) -> FileFacts | None:
    """Read the whole file; None, with the reason reported, if it changes, is removed or outside.

    None also when `stopping` is set before the end.
    """
    try:
        with open_regular(path, root=root) as file:
            state = os.fstat(file.fileno())
            wait_for_tick(state.st_mtime_ns)
            facts = _read(file, os.path.basename(path), stopping)  # noqa: PTH119 - for each file
            identity = identity_of(path, state)
            unchanged = identity_of(path, os.fstat(file.fileno())) == identity
    except FileNotFoundError:
        return None
    except LeadsOut:
        problems.skipped(path, LEADS_OUT)
        return None
    except OSError as error:
        problems.skipped(path, cannot_be_read(error))
        return None
    if facts is None:
        return None
    if not unchanged:
        problems.skipped(path, STILL_WRITTEN)
        return None
    return identity, facts


def cannot_be_read(error: OSError) -> str:
    """The reason why a file is not served that the operating system refuses to read."""
    return f"it cannot be read ({os_reason(error)})"


def _read(file: BinaryIO, filename: str, stopping: threading.Event) -> Facts | None:
    hasher = hashlib.sha256()
    while chunk := file.read(_READ_BYTES):
        hasher.update(chunk)
        if stopping.is_set():
            return None
    sha256 = hasher.hexdigest()
    try:
        metadata = read_metadata(file, filename)
    except Malformed as error:
        return Facts(sha256=sha256, problem=str(error))
    if metadata is None:
        return Facts(sha256=sha256)
    digest = hashlib.sha256(metadata).hexdigest() if filename.endswith(".whl") else None
    return Facts(sha256=sha256, metadata_sha256=digest, requires_python=requires_python(metadata))
