"""What happens to the advisories: records read, and files that are none."""

from typing import ClassVar

from typing_extensions import override

from simple_repository_server.observe.events import Event


class AdvisoriesRead(Event, frozen=True, kw_only=True, tag="advisories_read"):
    """Advisories that are new or have changed were read."""

    source: str
    #: about PyPI, now
    records: int
    #: that were read
    files: int
    #: that are gone
    removed: int
    #: of those that were read, how many were rejected
    rejected: int
    duration_s: float

    @override
    def text(self) -> str:
        """How many files were read, the result and the time."""
        files = "file" if self.files == 1 else "files"
        rejected = f", {self.rejected} of them rejected" if self.rejected else ""
        return (
            f"read {self.files} changed {files} of {self.source} in {self.duration_s:.1f} s"
            f"{rejected}: {self.records} records about PyPI"
        )


class AdvisoriesOutdated(Event, frozen=True, kw_only=True, tag="advisories_outdated"):
    """Changed advisories cannot be read: the earlier ones are in use; emitted once per reason."""

    level: ClassVar[str] = "warning"
    source: str
    reason: str

    @override
    def text(self) -> str:
        """Which, and why."""
        return f"{self.source}: {self.reason}; the earlier ones are in use"


class AdvisoryRejected(Event, frozen=True, kw_only=True, tag="advisory_rejected"):
    """A file of advisories is unusable: what it contained before still counts.

    Emitted once per version of the file, for at most 20 files at a time.
    """

    level: ClassVar[str] = "warning"
    source: str
    #: empty: the whole archive
    file: str
    reason: str

    @override
    def text(self) -> str:
        """The file and the reason."""
        where = f"{self.file} in {self.source}" if self.file else self.source
        return f"{where} is not used: {self.reason}"
