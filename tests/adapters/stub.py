"""A component of the `simple-repository` library that answers as a test specifies."""

import asyncio
from pathlib import Path
from typing import Any

from simple_repository import SimpleRepository, errors, model
from typing_extensions import override

from simple_repository_server.testing.distributions import Built, build_wheel

WHEEL = build_wheel("demo", "1.0")


def file_of(built: Built = WHEEL, **changes: Any) -> model.File:
    """The file as the library lists it, with a digest."""
    values: dict[str, Any] = {
        "filename": built.filename,
        "url": f"https://files.example/{built.filename}",
        "hashes": {"sha256": built.sha256},
        "size": len(built.content),
        **changes,
    }
    return model.File(**values)


def detail(*files: model.File, version: str = "1.1", **changes: Any) -> model.ProjectDetail:
    """A page of the project `demo`."""
    return model.ProjectDetail(
        meta=model.Meta(version), name="demo", files=files or (file_of(),), **changes
    )


class Stub(SimpleRepository):
    """Answers with values, and raises those that are exceptions."""

    def __init__(self, page: Any = None, resource: Any = None, names: Any = None) -> None:
        self.page = page if page is not None else detail()
        self.resource = resource
        self.names = names if names is not None else model.ProjectList(
            meta=model.Meta("1.0"), projects=frozenset([model.ProjectListElement("Demo")])
        )  # fmt: skip
        self.contexts: list[model.RequestContext | None] = []
        self.requested: list[str] = []

    async def _answer(self, value: Any, context: model.RequestContext | None) -> Any:
        self.contexts.append(context)
        if isinstance(value, BaseException):
            raise value
        if value == "never":
            await asyncio.Event().wait()
        return value

    @override
    async def get_project_page(
        self, project_name: str, *, request_context: model.RequestContext | None = None
    ) -> model.ProjectDetail:
        """The page, of whatever project."""
        if project_name != "demo":
            raise errors.PackageNotFoundError(project_name)
        found: model.ProjectDetail = await self._answer(self.page, request_context)
        return found

    @override
    async def get_project_list(
        self, *, request_context: model.RequestContext | None = None
    ) -> model.ProjectList:
        """The list."""
        found: model.ProjectList = await self._answer(self.names, request_context)
        return found

    @override
    async def get_resource(
        self,
        project_name: str,
        resource_name: str,
        *,
        request_context: model.RequestContext | None = None,
    ) -> model.Resource:
        """The resource, whatever its name."""
        self.requested.append(resource_name)
        found: model.Resource = await self._answer(self.resource, request_context)
        return found


def on_disk(folder: Path, content: bytes = WHEEL.content) -> model.LocalResource:
    """A local resource with that content."""
    path = folder / WHEEL.filename
    path.write_bytes(content)
    return model.LocalResource(path)
