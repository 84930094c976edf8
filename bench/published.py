"""Projects with real wheels at the upstream nginx: pages, files and metadata as static files."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from simple_repository_server.testing.distributions import Built, build_wheel


class Published(msgspec.Struct, frozen=True):
    """A project with one wheel at the upstream."""

    project: str
    filename: str
    size: int
    #: Below the upstream's address.
    path: str


def publish(
    upstream: Path, name: str, size: int, *, place: str = "files", metadata: bool = True
) -> Published:
    """A project with one wheel of about `size` bytes; its page leads to `/<place>/<file>`."""
    built = build_wheel(name, files={f"{name}/data.bin": os.urandom(size)}, compressed=False)
    return publish_built(upstream, name, built, place=place, metadata=metadata)


def publish_built(
    upstream: Path,
    name: str,
    built: Built,
    *,
    place: str = "files",
    metadata: bool = True,
    older: Iterable[Mapping[str, object]] = (),
) -> Published:
    """A project with that wheel; its page also lists the `older` files, which are not there."""
    _write_files(upstream, [built], metadata=metadata)
    entries = [*older, _entry(built, place, metadata=metadata)]
    page = {
        "meta": {"api-version": "1.4"},
        "name": name,
        "versions": list(dict.fromkeys(_version(entry) for entry in entries)),
        "files": entries,
    }
    folder = upstream / "json" / name
    folder.mkdir(parents=True)
    (folder / "index.json").write_text(json.dumps(page))
    return Published(name, built.filename, len(built.content), f"/{place}/{built.filename}")


def _version(entry: Mapping[str, object]) -> str:
    return str(entry["filename"]).split("-")[1]


def _write_files(upstream: Path, files: Iterable[Built], *, metadata: bool) -> None:
    folder = upstream / "files"
    folder.mkdir(parents=True, exist_ok=True)
    for built in files:
        (folder / built.filename).write_bytes(built.content)
        if metadata:
            (folder / f"{built.filename}.metadata").write_bytes(built.metadata)


def _entry(built: Built, place: str, *, metadata: bool) -> dict[str, object]:
    return {
        "filename": built.filename,
        "url": f"../../{place}/{built.filename}",
        "hashes": {"sha256": built.sha256},
        "size": len(built.content),
        "yanked": False,
        "core-metadata": {"sha256": built.metadata_sha256} if metadata else False,
    }


def fill_cache(folder: Path, total: int, each: int) -> int:
    """A cache as it looks like after a while, of sparse files; how many there are."""
    count = total // each
    for number in range(count):
        name = hashlib.sha256(str(number).encode()).hexdigest()
        path = folder / "files" / name[:2] / name[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(each)
    return count
