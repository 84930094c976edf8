"""The random key of a cache folder, with which secrets are fingerprinted.

Names in the folder depend on the password they were fetched with. A plain digest of it could be
found by guessing passwords; a keyed one cannot without the key, which only the owner can read.
"""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import KEY, PARTIAL
from simple_repository_server.disk.partial import PartialFile

KEY_BYTES = 32


def fingerprint(key: bytes, secret: bytes) -> str:
    """A name for the secret that reveals nothing of it without the key."""
    return hashlib.blake2b(secret, key=key, digest_size=16).hexdigest()


async def folder_key(disk: CacheFolder) -> bytes:
    """The key of the cache folder, the same for all processes; created if there is none.

    Where it cannot be read or created, a key of this process: then nothing is shared with others.
    """
    path = disk.folder / KEY
    key = await disk.run(_read, path)
    if key is None:
        await disk.write(_create, path, disk.folder / PARTIAL)
        key = await disk.run(_read, path)
    return key or secrets.token_bytes(KEY_BYTES)


def _read(path: Path) -> bytes | None:
    try:
        key = path.read_bytes()
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None


def _create(path: Path, scratch: Path) -> int:
    """Create the key atomically, unless another process was faster. Raises `OSError`."""
    with contextlib.suppress(FileNotFoundError):
        if len(path.read_bytes()) != KEY_BYTES:
            path.unlink()  # corrupt; one that cannot be read is another user's, and stays
    file = PartialFile(scratch)  # of mode 0600
    try:
        file.append([secrets.token_bytes(KEY_BYTES)])
        with contextlib.suppress(FileExistsError):
            os.link(file.path, path)
    finally:
        file.close()
    return KEY_BYTES
