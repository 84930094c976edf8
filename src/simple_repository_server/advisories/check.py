"""Mistakes in the setting of a folder or archive of OSV records, found by its first files."""

from itertools import islice
from pathlib import Path

from simple_repository_server.advisories.found import (
    ArchiveRecords,
    FoundFile,
    Records,
    open_records,
)
from simple_repository_server.advisories.reading import cannot_read
from simple_repository_server.advisories.records import ForeignRecord, parse_record
from simple_repository_server.errors import Malformed
from simple_repository_server.names import shown_path

#: How many files are looked at.
_LOOKED_AT = 20
_REMEDY = "name the folder, or the zip archive, of the OSV records of PyPI"
_NOTHING = "has no OSV records (*.json)"


def check_advisories(path: Path) -> list[str]:
    """What is wrong with the folder or archive, one sentence each; empty if nothing was found.

    Of its files only the first are read: that some are unusable is reported when all are.
    """
    shown = shown_path(str(path))
    try:
        records = open_records(path)
        try:
            problem = _problem(records, list(islice(records.files(), _LOOKED_AT)))
        finally:
            if isinstance(records, ArchiveRecords):
                records.close()
    except OSError as error:
        problem = cannot_read(error)
    except Malformed as error:
        problem = f"is no folder and no zip archive ({error})"
    if problem == _NOTHING:
        problem += _archive_in(path)
    return [f"{shown} {problem}: {_REMEDY}"] if problem else []


def _problem(records: Records, files: list[FoundFile]) -> str:
    """What is wrong with all of these files; "" if one of them is right."""
    foreign: set[str] = set()
    first = ""
    for file in files:
        try:
            parse_record(records.read(file)[0])
        except ForeignRecord as error:
            foreign.add(error.ecosystem)
        except (Malformed, FileNotFoundError) as error:
            first = first or f"{file.path}: {error}"
        else:
            return ""
    if foreign:
        return f"has records about {', '.join(sorted(foreign)[:3])}, not about PyPI"
    return f"has no OSV records ({first})" if first else _NOTHING


def _archive_in(path: Path) -> str:
    """That a folder has no records but an archive, as it is downloaded; else ""."""
    archive = next(iter(sorted(path.glob("*.zip"))), None) if path.is_dir() else None
    return "" if archive is None else f", but {shown_path(archive.name)}, which may be meant"
