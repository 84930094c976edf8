"""Which projects have files in the cache: what an index can list when it asks nobody."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

_DIGEST_LINE = 65


class ServedNotes:
    """One small file per project below `folder`, with a line for each sha256 that came through.

    Its methods block. Nothing here says that a file is still in the cache: look for it there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, project: str, sha256: str) -> int:
        """Note it, unless it is noted already; how many bytes that took. Raises `OSError`."""
        if sha256 in self.of(project):
            return 0
        self._folder.mkdir(parents=True, exist_ok=True)
        # One short line at the end, in one piece: several processes may do this at once.
        with (self._folder / project).open("ab", buffering=0) as file:
            return file.write(f"{sha256}\n".encode())

    def of(self, project: str) -> frozenset[str]:
        """The digests noted for a project."""
        try:
            text = (self._folder / project).read_text("ascii", "replace")
        except OSError:
            return frozenset()
        return frozenset(line for line in text.splitlines() if len(line) == _DIGEST_LINE - 1)

    def projects(self, wanted: Iterable[str]) -> Iterator[tuple[str, frozenset[str]]]:
        """Those of the projects that have notes, with their digests."""
        noted: set[str] = set()
        with contextlib.suppress(OSError):
            noted = {path.name for path in self._folder.iterdir()}
        for project in wanted:
            if project in noted:
                yield project, self.of(project)
