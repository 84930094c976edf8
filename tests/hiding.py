"""A repository that hides files and projects as rules do, with any sentence."""

from typing_extensions import override

from simple_repository_server.errors import HiddenByRule, RepositoryError
from simple_repository_server.explanation import Answered, Explanation, HiddenFile
from simple_repository_server.model import NO_CONTEXT, ProjectPage, RequestContext, SourceState
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import Resource

RULE = "min-age = 7 days"
REASON = f"hidden by the rule {RULE}: it is 2 days old, shown from 2026-12-24 12:00 UTC"


class Hiding(RepositoryContainer):
    """Hides the projects and files in `names`; raises `error` for every request, if given."""

    def __init__(
        self,
        source: Repository,
        *names: str,
        conceal: bool = False,
        reason: str = REASON,
        error: RepositoryError | None = None,
        states: tuple[SourceState, ...] = (),
    ) -> None:
        super().__init__(source)
        self.names = names
        self.conceal = conceal
        self.reason = reason
        self.error = error
        self.states = states

    def _check(self, project: ProjectName, filename: FileName | None = None) -> None:
        if self.error is not None:
            raise self.error
        if project in self.names:
            filename = None
        elif filename is None or filename.distribution not in self.names:
            return
        raise HiddenByRule(project, filename, rule=RULE, reason=self.reason, concealed=self.conceal)

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        self._check(project)
        return await self.source.get_project_page(project, context=context)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        self._check(project, filename)
        return await self.source.get_resource(project, filename, context=context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        self._check(project)
        return self.source.peek_project_page(project, context=context)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        self._check(project, filename)
        return self.source.peek_resource(project, filename, context=context)

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        return (*self.source.source_states(), *self.states)

    @override
    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        if project in self.names:
            return Explanation(
                component="rules",
                answered=Answered.HIDDEN,
                detail=self.reason,
                concealed=self.conceal,
                conceals=self.conceal,
            )
        inner = await self.source.explain(project, version, context=context)
        hidden = tuple(
            HiddenFile(
                filename=name, version="1.0", rule=RULE, reason=self.reason, conceal=self.conceal
            )
            for name in self.names
            if inner.answered is Answered.HAS and name.endswith(".whl")
        )
        return Explanation(
            component="rules",
            answered=inner.answered,
            files=max(0, inner.files - len(hidden)),
            hidden=hidden,
            conceals=self.conceal,
            sources=(inner,),
        )
