"""Pages and lists of the library as ours: values are checked as those of a remote index are."""

import html
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from simple_repository import model

from simple_repository_server.distributions.filenames import (
    parse_version,
    sorted_versions,
    versions_of,
)
from simple_repository_server.errors import Malformed
from simple_repository_server.model import NOTHING, File, ProjectList
from simple_repository_server.names import ProjectName, sorted_unique
from simple_repository_server.wire.files import Digests, Entry, parse_files
from simple_repository_server.wire.parsing import (
    MAX_URL,
    ParsedPage,
    build_page,
    check_project,
    check_version,
    collect,
    parse_versions,
    project_names,
)
from simple_repository_server.wire.urls import parse_http

#: The private key by which provenance (PEP 740), which the library has no field for, passes it.
PROVENANCE = "_provenance"
#: What the library states as the version of a file whose name has none.
_NO_VERSION = "0.0rc0"
_SURROGATE = re.compile("[\ud800-\udfff]")


def page_of(theirs: object, project: ProjectName) -> ParsedPage:
    """The page of the project, and how many entries were unusable.

    Raises `Malformed` for anything but a page of that project.
    """
    if not isinstance(theirs, model.ProjectDetail):
        raise Malformed(f"it returned {type(theirs).__name__} instead of a page")
    check_version(theirs.meta.api_version)
    check_project(theirs.name, project)
    found = parse_files([_entry(file) for file in theirs.files], _resolve)
    files = (
        _with_private(file, of.private_metadata)
        for file, of in zip(found, theirs.files, strict=True)
    )
    entries = collect(files, project)
    versions = _versions(theirs.versions, project, [file.filename for file in entries.files])
    parsed = build_page(project, entries, versions=versions, status=None, serial=None)
    if not theirs.private_metadata:
        return parsed
    page = msgspec.structs.replace(parsed.page, private=_plain(theirs.private_metadata))
    return msgspec.structs.replace(parsed, page=page)


def list_of(theirs: object) -> ProjectList:
    """The list, without names that are none. Raises `Malformed` for anything but a list."""
    if not isinstance(theirs, model.ProjectList):
        raise Malformed(f"it returned {type(theirs).__name__} instead of a list")
    check_version(theirs.meta.api_version)
    return ProjectList(
        names=sorted_unique(project_names(element.name for element in theirs.projects)),
        private=_plain(theirs.private_metadata) if theirs.private_metadata else NOTHING,
    )


def _entry(file: model.File) -> Entry:
    """The file with values of the right types: the library checks none of them."""
    metadata = file.dist_info_metadata
    return Entry(
        filename=_text(file.filename) or "",
        url=_text(file.url) or "",
        hashes=_digests(file.hashes),
        size=file.size if type(file.size) is int else None,
        upload_time=file.upload_time if isinstance(file.upload_time, datetime) else None,
        requires_python=_text(file.requires_python),
        core_metadata=_digests(metadata) if isinstance(metadata, Mapping) else metadata is True,
        # The library's model has reasons as they stand in HTML.
        yanked=_yanked(file.yanked),
    )


def _text(value: object) -> str | None:
    """The text; None for anything else, also for one that is not Unicode (a lone surrogate)."""
    if not isinstance(value, str) or _SURROGATE.search(value):
        return None
    return value


def _yanked(value: object) -> bool | str:
    """Whether the file is yanked, with a usable reason; one that is not usable yanks, too."""
    reason = _text(value)
    return isinstance(value, str) or value is True if reason is None else html.unescape(reason)


def _digests(value: object) -> Digests:
    if not isinstance(value, Mapping):
        return {}
    return {name: _text(digest) for name, digest in value.items() if isinstance(name, str)}


def _resolve(reference: str) -> str:
    """The address without credentials. It is not used to fetch the file, so it may be any text."""
    try:
        return parse_http(reference).bare
    except ValueError:
        return reference


def _with_private(file: File | str, private: Mapping[str, object]) -> File | str:
    if isinstance(file, str) or not private:
        return file
    keys = _plain(private)
    provenance = _address(keys.pop(PROVENANCE, None))
    if provenance:
        file = msgspec.structs.replace(file, provenance=provenance)
    return msgspec.structs.replace(file, private=keys) if keys else file


def _versions(
    listed: Iterable[object] | None, project: ProjectName, filenames: list[str]
) -> tuple[str, ...]:
    """The versions of the files as their names spell them, and those without files."""
    own = versions_of(filenames, project)
    if listed is None:
        return own
    present = {parse_version(text) or text for text in own}
    further = [text for text in parse_versions(map(_text, listed)) if text != _NO_VERSION]
    return sorted_versions(
        [*own, *(text for text in further if (parse_version(text) or text) not in present)]
    )


def _address(value: object) -> str | None:
    """The address that clients may be sent to, without credentials."""
    try:
        return parse_http(value).bare if isinstance(value, str) and len(value) <= MAX_URL else None
    except ValueError:
        return None


def _plain(private: Mapping[Any, object]) -> dict[str, object]:
    """The private keys whose values are JSON; others would stand for keys of the standard."""
    found: dict[str, object] = {}
    for name, value in private.items():
        if isinstance(name, str) and name.startswith("_"):
            try:
                found |= msgspec.json.decode(msgspec.json.encode({name: _plain_value(value)}))
            except (TypeError, ValueError, OverflowError):
                continue
    return found


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain_value(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain_value(one) for one in value]
    return value
