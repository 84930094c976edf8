"""Wherever a public component takes a path, a text does."""

from pathlib import Path

import pytest

from simple_repository_server import (
    Advisories,
    AuditLog,
    CacheFolder,
    DigestStore,
    FirstSeen,
    LocalRepository,
)

pytestmark = pytest.mark.anyio


async def test_files_and_folders_are_paths_or_texts(tmp_path: Path) -> None:
    """Components that were given texts open, and use just these files and folders."""
    for name in ("packages", "osv"):
        (tmp_path / name).mkdir()
    advisories = Advisories(f"{tmp_path}/osv", state=f"{tmp_path}/state")
    local = LocalRepository(
        f"{tmp_path}/packages", digests=DigestStore(f"{tmp_path}/digests.sqlite")
    )
    audit = AuditLog(f"{tmp_path}/audit.jsonl")
    async with advisories, local, audit, FirstSeen(f"{tmp_path}/first-seen.sqlite") as seen:
        await advisories.until_ready(30)
        assert (await local.get_project_list()).names == ()
        assert seen.path == tmp_path / "first-seen.sqlite"
    assert CacheFolder(f"{tmp_path}/cache").folder == tmp_path / "cache"
    assert {path.name for path in tmp_path.iterdir()} >= {"state", "digests.sqlite", "audit.jsonl"}
