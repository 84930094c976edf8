"""Where everything lies in a cache folder, and which names are valid there: stated here only.

    files/<2>/<62>               distribution files, by the sha256 of their content
    pages/<index>/<project>      pages as an index sent them, its list, and negative entries
    metadata/<project>/<key>     core metadata, by project and by the wheel it belongs to
    links/<2>/<62>               the sha256 of files whose index states none, by their address
    served/<project>             the digests of the files that were cached for a project
    partial/<random>.partial     files that are still being written
    CACHEDIR.TAG                 what makes the folder a cache of ours
    key                          the random key under which secrets are fingerprinted
    changes                      the projects that were refreshed or forgotten by hand
    lock                         held by the one process that evicts

Every entry appears by an atomic rename, states the digest it must have, and can be deleted at any
time. There is no index that could become inconsistent: what exists is what lies there.
"""

import hashlib
import re
from pathlib import Path

FILES = "files"
PAGES = "pages"
METADATA = "metadata"
LINKS = "links"
#: What is evicted, least recently used first.
KINDS = (FILES, PAGES, METADATA, LINKS)
PROJECTS = "served"
PARTIAL = "partial"
#: The folders directly below the cache folder.
FOLDERS = (*KINDS, PROJECTS, PARTIAL)

TAG = "CACHEDIR.TAG"
KEY = "key"
CHANGES = "changes"
LOCK = "lock"
#: Every name directly below the cache folder that belongs to the cache.
NAMES = frozenset({*FOLDERS, TAG, KEY, CHANGES, LOCK})

SHA256 = re.compile("[0-9a-f]{64}")
_PROJECT = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_DIGEST = (re.compile("[0-9a-f]{2}"), re.compile("[0-9a-f]{62}"))
#: The valid names at each level below a folder: of its folders first, of the files in those last.
#: In the order in which `verify` reads them: what refers to files comes after the files.
VALID_NAMES: dict[str, tuple[re.Pattern[str], ...]] = {
    PAGES: (re.compile("[0-9a-f]{32}"), re.compile(rf"\.[a-z-]+|{_PROJECT.pattern}")),
    METADATA: (_PROJECT, re.compile("[0-9a-f]{40}")),
    PARTIAL: (re.compile(".+", re.DOTALL),),
    FILES: _DIGEST,
    LINKS: _DIGEST,
    PROJECTS: (_PROJECT,),
}


def digest_key(sha256: str) -> tuple[str, str]:
    """The key of what is found by a sha256: a folder never holds more than a 256th of all."""
    return sha256[:2], sha256[2:]


def digest_of(path: Path) -> str:
    """The sha256 whose `digest_key` the path ends with."""
    return path.parent.name + path.name


def link_key(identity: str) -> tuple[str, str]:
    """The key of the link for a file that `identity` describes."""
    return digest_key(hashlib.sha256(identity.encode()).hexdigest())


def index_key(identity: str) -> str:
    """The folder of the pages of an index, as `identity` (address and fingerprint) sees them."""
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def wheel_key(wheel: str) -> str:
    """The name of the metadata of a wheel, which the text describes together with its digest."""
    return hashlib.sha256(wheel.encode("utf-8", "surrogatepass")).hexdigest()[:40]
