"""The layout of the cache is a format on disk: entries of earlier versions are found, or misses."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from simple_repository_server.disk.blobs import BlobStore
from simple_repository_server.disk.layout import (
    FOLDERS,
    KINDS,
    NAMES,
    VALID_NAMES,
    digest_key,
    digest_of,
    index_key,
    link_key,
    wheel_key,
)
from simple_repository_server.disk.page_store import PageHead

SHA256 = hashlib.sha256(b"x").hexdigest()


def test_every_folder_has_valid_names() -> None:
    """What lies in a folder that `verify` does not know would never be checked."""
    assert set(VALID_NAMES) == set(FOLDERS)
    assert set(KINDS) < set(FOLDERS) < NAMES


@pytest.mark.parametrize(
    ("folder", "key"),
    [
        ("files", digest_key(SHA256)),
        ("links", link_key("anything é")),
        ("pages", (index_key("anything é"), "foo-bar2")),
        ("pages", (index_key(""), ".list")),
        ("pages", (index_key(""), ".refused")),
        ("metadata", ("foo", wheel_key("anything \udcff"))),
        ("served", ("foo-bar2",)),
    ],
)
def test_keys_have_valid_names(folder: str, key: tuple[str, ...]) -> None:
    """Each part of a key is a name that is valid at its level."""
    patterns = VALID_NAMES[folder]
    assert len(key) == len(patterns)
    assert all(pattern.fullmatch(part) for pattern, part in zip(patterns, key, strict=True))


def test_keys_do_not_change() -> None:
    """Another key would make each entry of an earlier version a miss."""
    assert digest_key(SHA256) == (SHA256[:2], SHA256[2:])
    assert digest_of(BlobStore(Path("files"), Path("partial")).path(SHA256)) == SHA256
    assert link_key("x") == digest_key(SHA256)
    assert index_key("x") == SHA256[:32]
    assert wheel_key("x") == SHA256[:40]


@pytest.mark.parametrize("marker", ["missing", "refused"])
def test_negative_entries_of_earlier_versions_are_none_but_that(marker: str) -> None:
    """They called the field `note`; taken for a page, such an entry would be an empty one."""
    head = msgspec.json.decode(f'{{"validated_at":1.0,"note":"{marker}"}}', type=PageHead)
    assert (head.missing, head.refused) == (marker == "missing", marker == "refused")
    assert msgspec.json.decode(msgspec.json.encode(head))["note"] == marker
