"""What is requested from the cache: a file, the project it belongs to, and its origin."""

import msgspec

from simple_repository_server.disk.layout import link_key
from simple_repository_server.resource import Resource


class FileRef(msgspec.Struct, frozen=True):
    """A file as the page of its project describes it."""

    origin: Resource
    project: str
    filename: str

    @property
    def link_key(self) -> tuple[str, str]:
        """The name of the link from its address; it changes with all that the index states of it.

        Two files share a transfer only if this is equal: the digest alone is a claim of an index.
        """
        described = f"{self.origin.cache_key} {sorted(self.origin.hashes.items())}"
        return link_key(described)
