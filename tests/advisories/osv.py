"""OSV records, and folders and archives of them."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simple_repository_server.advisories.matching import ProjectAdvisories
from simple_repository_server.advisories.records import Advisory, parse_record
from simple_repository_server.names import ProjectName


def affected(
    name: str = "foo",
    *ranges: Any,
    versions: list[str] | None = None,
    ecosystem: str = "PyPI",
) -> dict[str, Any]:
    """An entry of `affected`; each range is a list of events, as in `"introduced 0"`."""
    entry: dict[str, Any] = {"package": {"ecosystem": ecosystem, "name": name}}
    if ranges:
        entry["ranges"] = [range_of(*events) for events in ranges]
    if versions is not None:
        entry["versions"] = versions
    return entry


def range_of(*events: str, kind: str = "ECOSYSTEM") -> dict[str, Any]:
    """A range, of events as in `"introduced 0"`."""
    return {"type": kind, "events": [dict([event.split(" ", 1)]) for event in events]}


def record(number: str = "PYSEC-2026-1", *entries: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A record with these entries of `affected`."""
    return {
        "schema_version": "1.7.0",
        "id": number,
        "modified": "2026-01-01T00:00:00Z",
        "affected": list(entries),
        **fields,
    }


def content(given: dict[str, Any]) -> bytes:
    """The record as a file."""
    return json.dumps(given).encode()


def advisory(*entries: dict[str, Any], number: str = "PYSEC-2026-1", **fields: Any) -> Advisory:
    """What a record with these entries says about the project foo."""
    return parse_record(content(record(number, *entries, **fields)))[ProjectName("foo")]


def matching(*advisories: Advisory) -> ProjectAdvisories:
    """These advisories, ready to be matched."""
    return ProjectAdvisories(advisories)


def write_folder(folder: Path, records: Mapping[str, dict[str, Any] | bytes]) -> None:
    """Write the records into files of these names, which are left alone if they are the same."""
    for name, given in records.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = given if isinstance(given, bytes) else content(given)
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


def write_zip(path: Path, records: Mapping[str, dict[str, Any] | bytes]) -> None:
    """Write the records into a zip archive, which replaces the one at the path at once."""
    new = path.with_suffix(".new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, given in records.items():
            archive.writestr(name, given if isinstance(given, bytes) else content(given))
    new.replace(path)
