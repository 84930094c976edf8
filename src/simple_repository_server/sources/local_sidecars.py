"""Metadata files beside distributions (`<file>.metadata`): which are used, and their digests.

One that matches its distribution is served as its metadata, byte for byte, instead of the metadata
inside. Everything here blocks.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from simple_repository_server.distributions.core_metadata import (
    contradiction,
    differences,
    fields_in_words,
    parse_core_metadata,
)
from simple_repository_server.distributions.filenames import parse_distribution
from simple_repository_server.distributions.metadata import read_metadata
from simple_repository_server.distributions.zip_member import MAX_MEMBER_BYTES
from simple_repository_server.errors import Malformed, os_reason
from simple_repository_server.observe.events import MetadataDiffers
from simple_repository_server.opening import LeadsOut, open_regular, wait_for_tick
from simple_repository_server.sources.local_entries import Found
from simple_repository_server.sources.local_facts import FileIdentity
from simple_repository_server.sources.local_problems import Problems

#: As large as metadata within a wheel may be.
MAX_SIDECAR_BYTES = MAX_MEMBER_BYTES


class Sidecar(msgspec.Struct, frozen=True):
    """A metadata file as it was read, with its distribution; `sha256` None: it is not used."""

    identity: FileIdentity
    of: FileIdentity
    sha256: str | None = None
    requires_python: str | None = None


def read_sidecars(
    found: tuple[Found, ...],
    identities: Mapping[str, FileIdentity],
    before: Mapping[str, Sidecar],
    root: str,
    problems: Problems,
) -> dict[str, Sidecar]:
    """The metadata files there are, by the path of their distribution.

    Those `before` that did not change, nor their distribution, are not read again.
    """
    sidecars = {}
    for one in found:
        if not one.has_sidecar:
            continue
        identity, of = identities.get(one.sidecar), identities.get(one.path)
        if identity is None:
            _report_unusable(one.sidecar, root, problems)
            continue
        if of is None:
            continue
        known = before.get(one.path)
        if known is None or (known.identity, known.of) != (identity, of):
            known = _read(one, identity, of, root, problems)
        sidecars[one.path] = known
    return sidecars


def _report_unusable(path: str, root: str, problems: Problems) -> None:
    """Report why there is no regular file at the path, if anything is there."""
    try:
        read_content(path, root)
    except FileNotFoundError:
        if Path(path).is_symlink():
            problems.skipped(path, "the symlink leads nowhere")
    except OSError as error:
        _report_error(path, error, problems)
    except Malformed:
        return  # it has become a file since


def _report_error(path: str, error: OSError, problems: Problems) -> None:
    reason = os_reason(error)
    problems.skipped(
        path, reason if isinstance(error, LeadsOut) else f"it cannot be read ({reason})"
    )


def read_content(path: str, root: str) -> bytes:
    """The bytes of a metadata file. Raises `OSError`, and `Malformed` if there are too many."""
    with open_regular(path, root=root) as file:
        # A read of an unbuffered file may be short.
        parts, size = [], 0
        while part := file.read(MAX_SIDECAR_BYTES + 1 - size):
            parts.append(part)
            size += len(part)
    if size > MAX_SIDECAR_BYTES:
        raise Malformed(f"it is larger than {MAX_SIDECAR_BYTES} bytes")
    return b"".join(parts)


def _read(
    found: Found, identity: FileIdentity, of: FileIdentity, root: str, problems: Problems
) -> Sidecar:
    unused = Sidecar(identity, of)
    try:
        wait_for_tick(identity.mtime_ns)
        content = read_content(found.sidecar, root)
    except OSError as error:
        _report_error(found.sidecar, error, problems)
        return unused
    except Malformed as error:
        problems.skipped(found.sidecar, str(error))
        return unused
    distribution = parse_distribution(found.filename, folder=_folder_of(found.path))
    metadata = parse_core_metadata(content)
    problem = (
        contradiction(metadata, distribution)
        if distribution
        else "its file name contains no project and version"
    )
    if problem:
        problems.skipped(found.sidecar, problem)
        return unused
    own = _own_metadata(found, root)
    different = differences(metadata, parse_core_metadata(own)) if own is not None else ()
    if different:
        fields = fields_in_words(different)
        event = MetadataDiffers(source=problems.label, file=found.sidecar, fields=fields)
        problems.report(found.sidecar, fields, event)
    else:
        problems.resolved(found.sidecar)
    sha256 = hashlib.sha256(content).hexdigest()
    return Sidecar(identity, of, sha256, metadata.first("Requires-Python"))


def _own_metadata(found: Found, root: str) -> bytes | None:
    """The metadata inside a wheel; None where it cannot be read, and for other distributions."""
    if not found.filename.endswith(".whl"):
        return None
    try:
        with open_regular(found.path, root=root) as file:
            return read_metadata(file, found.filename)
    except (OSError, Malformed):
        return None


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0].rpartition("/")[2]
