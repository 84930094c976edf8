"""Building a local project's page: files checked, facts looked up, metadata files read. Blocks."""

from collections.abc import Mapping

import msgspec

from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import MetadataUnreadable
from simple_repository_server.sources.local_digests import Computed
from simple_repository_server.sources.local_entries import Found
from simple_repository_server.sources.local_facts import DigestStore, Facts, FileIdentity
from simple_repository_server.sources.local_files import STILL_WRITTEN, identify
from simple_repository_server.sources.local_pages import (
    KnownFiles,
    LocalPage,
    build_page,
    withheld,
)
from simple_repository_server.sources.local_problems import Problems
from simple_repository_server.sources.local_sidecars import read_sidecars


class PageJob(msgspec.Struct, frozen=True):
    """A page to build."""

    project: ProjectName
    found: tuple[Found, ...]
    root: str
    #: The page as it was built before.
    before: LocalPage | None
    #: Seconds since the epoch.
    now: float


class PageBuilder:
    """Builds pages of files whose facts are known; threads may share it."""

    def __init__(self, store: DigestStore, problems: Problems) -> None:
        self._store = store
        self._problems = problems

    def build(self, job: PageJob) -> LocalPage | dict[str, int]:
        """The page (as before, if nothing changed), or the sizes of the files of unknown facts."""
        identities = identify(job.found, job.root, self._problems)
        if job.before is not None and job.before.holds(job.found, identities):
            return job.before
        facts, missing = self._facts(job.found, identities, {})
        return missing or self._build(job, identities, facts)

    def build_with(self, job: PageJob, computed: Computed) -> LocalPage:
        """The page, with facts that were computed; files that changed since are left out."""
        identities = identify(job.found, job.root, self._problems)
        facts, _ = self._facts(job.found, identities, dict(computed.values()))
        return self._build(job, identities, facts)

    def _facts(
        self,
        found: tuple[Found, ...],
        identities: Mapping[str, FileIdentity],
        computed: Mapping[FileIdentity, Facts],
    ) -> tuple[dict[str, Facts], dict[str, int]]:
        """The facts that are known, and the sizes of the files whose facts are not, by path."""
        files = {one.path: identities[one.path] for one in found if one.path in identities}
        stored = self._store.get(one for one in files.values() if one not in computed)
        facts: dict[str, Facts] = {}
        missing: dict[str, int] = {}
        for path, identity in files.items():
            known = computed.get(identity) or stored.get(identity)
            if known is None:
                missing[path] = identity.size
            else:
                facts[path] = known
        return facts, missing

    def _build(
        self, job: PageJob, identities: Mapping[str, FileIdentity], facts: Mapping[str, Facts]
    ) -> LocalPage:
        before = job.before
        sidecars = read_sidecars(
            job.found, identities, before.sidecars if before else {}, job.root, self._problems
        )
        still_written = withheld(facts, identities, sidecars, job.root, job.now)
        known = KnownFiles(job.found, identities, facts, sidecars, still_written)
        page = build_page(job.project, known)
        if before is not None and before.page.files == page.files:
            page = before.page
        self._report_problems(job.project, known)
        settled = known.is_settled
        return LocalPage(page, job.found, identities, sidecars, settled, job.root)

    def _report_problems(self, project: ProjectName, known: KnownFiles) -> None:
        for one in known.found:
            facts = known.facts.get(one.path)
            if one.path in known.withheld:
                self._problems.skipped(one.path, STILL_WRITTEN)
            elif facts is None:
                continue  # reported where reading it failed
            elif facts.problem is None or known.has_sidecar(one.path):
                self._problems.resolved(one.path)
            else:
                event = MetadataUnreadable(project=project, file=one.filename, reason=facts.problem)
                self._problems.report(one.path, facts.problem, event)
