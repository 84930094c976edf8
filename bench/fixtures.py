"""What is served: projects of 1 to 11,000 files, files of 1 kB to 17 MB, a wheel of 160 MB."""

import hashlib
import json
import os
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from simple_repository_server.testing.distributions import build_wheel

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
SIZES = {"small": 1, "medium": 48, "large": 4_400, "huge": 11_000}
#: As many copies of the large page as are asked for cold.
COLD_COPIES = 12
FILE_PROJECT, WHEEL_PROJECT = "bench-file", "bench-wheel"
FILE_BYTES = {"1 kB": 1_000, "74 kB": 74_000, "1 MB": 1_000_000, "17 MB": 17_000_000}
_PLATFORMS = (
    "cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64",
    "cp312-cp312-macosx_11_0_arm64",
    "cp313-cp313-win_amd64",
)


class LocalFile(msgspec.Struct, frozen=True):
    """A distribution file in the directory."""

    project: str
    path: Path

    @property
    def target(self) -> str:
        """The path in its address at our server."""
        return f"/resources/{self.project}/{self.path.name}"


class Fixtures(msgspec.Struct, frozen=True):
    """Where everything lies."""

    #: Served by nginx as the upstream: `json/<project>/` and `html/<project>/`.
    upstream: Path
    #: A directory of distribution files.
    packages: Path
    #: Files in it, by what their sizes are called.
    sized: dict[str, LocalFile]
    wheel: Path


def build(root: Path, wheel: Path | None = None) -> Fixtures:
    """Write everything below `root`; `wheel` is a large real one to use for metadata."""
    upstream, packages = root / "upstream", root / "packages"
    for project, count in SIZES.items():
        _write_pages(upstream, project, count)
    for number in range(COLD_COPIES):
        _write_pages(upstream, f"cold-{number}", SIZES["large"])
    packages.mkdir(parents=True)
    sized = {called: _local_file(packages, size) for called, size in FILE_BYTES.items()}
    small = build_wheel("small")
    (packages / small.filename).write_bytes(small.content)
    large = _large_wheel(upstream, wheel)
    return Fixtures(upstream, packages, sized, large)


def _local_file(packages: Path, size: int) -> LocalFile:
    """The largest is a wheel, whose metadata is read; the others any archive of just that size."""
    if size == max(FILE_BYTES.values()):
        built = build_wheel(FILE_PROJECT, files={"data.bin": os.urandom(size)}, compressed=False)
        project, path, content = FILE_PROJECT, packages / built.filename, built.content
    else:
        project, content = f"bench-{size}", os.urandom(size)
        path = packages / f"bench_{size}-1.0.tar.gz"
    path.write_bytes(content)
    return LocalFile(project, path)


def file_of(project: str) -> str:
    """The name of the first file on the page of one of the projects at the upstream."""
    return str(_entry(project, 0)["filename"])


def _write_pages(upstream: Path, project: str, count: int) -> None:
    entries = [_entry(project, number) for number in range(count)]
    versions = list(dict.fromkeys(f"1.{number // 4}.0" for number in range(count)))
    page = {
        "meta": {"api-version": "1.4"},
        "name": project,
        "versions": versions,
        "files": entries,
    }
    for kind, text in (("json", json.dumps(page)), ("html", _html(project, entries))):
        folder = upstream / kind / project
        folder.mkdir(parents=True)
        (folder / f"index.{kind}").write_text(text)


def _entry(project: str, number: int) -> dict[str, Any]:
    digest = hashlib.sha256(f"{project} {number}".encode()).hexdigest()
    name = f"{project.replace('-', '_')}-1.{number // 4}.0-{_PLATFORMS[number % 4]}.whl"
    return {
        "filename": name,
        "url": f"https://files.example/packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{name}",
        "hashes": {"sha256": digest},
        "requires-python": ">=3.8",
        "size": 1_000_000 + number,
        "upload-time": f"2024-01-17T16:53:12.{number:06}Z",
        "yanked": False,
        "core-metadata": {"sha256": digest[::-1]},
    }


def _html(project: str, entries: list[dict[str, Any]]) -> str:
    anchors = (
        f'<a href="{e["url"]}#sha256={e["hashes"]["sha256"]}" data-requires-python="&gt;=3.8"'
        f' data-dist-info-metadata="sha256={e["core-metadata"]["sha256"]}"'
        f' data-core-metadata="sha256={e["core-metadata"]["sha256"]}">{e["filename"]}</a><br />'
        for e in entries
    )
    head = '<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.4"></head>'
    lines = "\n".join(anchors)
    return f"{head}<body><h1>Links for {project}</h1>\n{lines}\n</body></html>\n"


def _large_wheel(upstream: Path, wheel: Path | None) -> Path:
    files = upstream / "files"
    files.mkdir()
    if wheel is None:
        block = Random(0).randbytes(1024 * 1024)
        members = {f"large/data_{number:03}.bin": block for number in range(160)}
        members |= {f"large/m_{number:05}/with_a_long_name_in_it.py": b"" for number in range(9000)}
        built = build_wheel(WHEEL_PROJECT, files=members, compressed=False)
        path = files / built.filename
        path.write_bytes(built.content)
    else:
        path = files / wheel.name
        path.symlink_to(wheel.resolve())
    folder = upstream / "html" / project_of(path)
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(f'<a href="../../files/{path.name}">{path.name}</a>')
    return path


def project_of(wheel: Path) -> str:
    """The project of a wheel, by its file name."""
    return wheel.name.split("-")[0].replace("_", "-").lower()
