"""Builds distribution files: small, valid, and reproducible byte for byte."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping

import msgspec

_TIME = (2024, 1, 17, 16, 53, 12)


class Built(msgspec.Struct, frozen=True):
    """A distribution file: its name, its bytes, and the core metadata in it."""

    filename: str
    content: bytes
    metadata: bytes

    @property
    def sha256(self) -> str:
        """The digest of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def metadata_sha256(self) -> str:
        """The digest of the metadata."""
        return hashlib.sha256(self.metadata).hexdigest()


def core_metadata(
    name: str,
    version: str,
    *,
    requires: Iterable[str] = (),
    requires_python: str | None = None,
) -> bytes:
    """Core metadata 2.1 with a description in several scripts."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    if requires_python:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    lines += ["", f"A distribution of {name} for tests: äöü, 日本語.", ""]
    return "\n".join(lines).encode()


def build_wheel(
    name: str,
    version: str = "1.0",
    *,
    tag: str = "py3-none-any",
    requires: Iterable[str] = (),
    requires_python: str | None = ">=3.8",
    files: Mapping[str, bytes] | None = None,
    compressed: bool = True,
) -> Built:
    """A wheel that pip and uv install: a module of the project's name, with its version in it.

    `files` are further members, before the metadata.
    """
    normal = name.replace("-", "_").replace(".", "_").lower()
    metadata = core_metadata(name, version, requires=requires, requires_python=requires_python)
    info = f"{normal}-{version}.dist-info"
    members = {
        f"{normal}.py": f'version = "{version}"\n'.encode(),
        **(files or {}),
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
        f"Tag: {tag}\n".encode(),
    }
    members[f"{info}/RECORD"] = _record(members, f"{info}/RECORD")
    content = zip_of(members, compressed=compressed)
    return Built(f"{normal}-{version}-{tag}.whl", content, metadata)


def zip_of(members: Mapping[str, bytes], *, compressed: bool = True) -> bytes:
    """A zip archive of the members, in their order."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member, _TIME), content, method)
    return buffer.getvalue()


def build_sdist(name: str, version: str = "1.0", *, requires_python: str | None = ">=3.8") -> Built:
    """An sdist (PEP 625) with its PKG-INFO; it is not meant to be built."""
    normal = name.replace("-", "_").replace(".", "_").lower()
    root = f"{normal}-{version}"
    metadata = core_metadata(name, version, requires_python=requires_python)
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for member, content in {f"{root}/PKG-INFO": metadata, f"{root}/setup.py": b""}.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return Built(f"{root}.tar.gz", buffer.getvalue(), metadata)


def _record(members: Mapping[str, bytes], record: str) -> bytes:
    lines = []
    for member, content in members.items():
        digest = hashlib.sha256(content).digest()
        encoded = urlsafe_b64encode(digest).decode().rstrip("=")
        lines.append(f"{member},sha256={encoded},{len(content)}")
    return "\n".join([*lines, f"{record},,", ""]).encode()
