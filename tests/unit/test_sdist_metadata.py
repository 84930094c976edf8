"""PKG-INFO out of sdists: found in every compression, and looked for within limits."""

import io
import tarfile
import time
import zlib
from pathlib import Path

import pytest

from simple_repository_server.distributions.metadata import read_local_metadata

_INFO = b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n"
_BLOCK = 64 * 1024 * 1024


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_every_compression(tmp_path: Path, compression: str) -> None:
    """The compression is that of the file, whatever its name says."""
    path = tmp_path / "foo-1.0.tar.gz"
    with tarfile.open(path, f"w:{compression}") as archive:  # type: ignore[call-overload]
        member = tarfile.TarInfo("foo-1.0/PKG-INFO")
        member.size = len(_INFO)
        archive.addfile(member, io.BytesIO(_INFO))
    assert read_local_metadata(path) == _INFO


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_bombs_are_left_alone(tmp_path: Path, kind: bytes) -> None:
    """A member or a header that unfolds to gigabytes is not unfolded."""
    path = tmp_path / "foo-1.0.tar.gz"
    member = tarfile.TarInfo("foo-1.0/large")
    member.type, member.size = kind, 64 * _BLOCK
    packer = zlib.compressobj(wbits=31)
    head = packer.compress(member.tobuf(tarfile.GNU_FORMAT)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(b"\0" * _BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(head + again * 64)
    started = time.process_time()
    assert read_local_metadata(path) is None
    assert time.process_time() - started < 5
