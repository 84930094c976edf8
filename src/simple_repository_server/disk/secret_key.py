"""The key of a cache: what is kept under a password is found by a digest made with it.

A plain digest of a password can be guessed by whoever reads the folder's names. This one cannot
without the key, which only the owner of the folder can read.
"""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.ownership import KEY, PARTIAL
from simple_repository_server.disk.partial import PartialFile

KEY_BYTES = 32


def fingerprint(key: bytes, secret: bytes) -> str:
    """A name for the secret that says nothing of it without the key."""
    return hashlib.blake2b(secret, key=key, digest_size=16).hexdigest()


async def folder_key(disk: CacheFolder) -> bytes:
    """The key of the folder of `disk`, the same for all processes; made if there is none.

    If there is none to be had, a random one: then nothing is shared, and nothing found again.
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
    """Write a key, whole at once, unless another process was quicker. Raises `OSError`."""
    with contextlib.suppress(FileNotFoundError):
        if len(path.read_bytes()) != KEY_BYTES:
            path.unlink()  # damaged; one that cannot be read is left to whoever can
    file = PartialFile(scratch)  # of mode 0600
    try:
        file.append([secrets.token_bytes(KEY_BYTES)])
        with contextlib.suppress(FileExistsError):
            os.link(file.path, path)
    finally:
        file.close()
    return KEY_BYTES
