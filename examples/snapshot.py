"""The index as it was on a date: `/snapshot/2024-05-01/simple/`.

    python examples/snapshot.py DIRECTORY_OR_INDEX_URL
    uv pip install --default-index http://127.0.0.1:8000/snapshot/2024-05-01/simple/ PROJECT

A repository of your own is a small class around another one. This one hides what was uploaded
after its date, from pages, files and metadata alike; a path parameter chooses the date.
"""

import sys
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

import msgspec
from fastapi import FastAPI
from typing_extensions import override

from simple_repository_server import (
    NO_CONTEXT,
    FileName,
    HttpRepository,
    LocalRepository,
    MetadataInjectorRepository,
    ProjectName,
    ProjectPage,
    Repository,
    RepositoryContainer,
    RequestContext,
    Resource,
    ResourceNotFound,
    SnapshotMemo,
    build_router,
    versions_of,
)


class SnapshotRepository(RepositoryContainer):
    """The files of another repository that were there at the end of a day."""

    def __init__(self, source: Repository, *, day: date) -> None:
        super().__init__(source)
        self._end = datetime.combine(day + timedelta(days=1), time(), UTC)
        # Computed once for each page of the source, so an unchanged page stays the same object.
        self._cut = SnapshotMemo(self._cut_off)

    def _cut_off(self, page: ProjectPage) -> ProjectPage:
        files = tuple(f for f in page.files if f.upload_time and f.upload_time < self._end)
        versions = versions_of((file.filename for file in files), page.name)
        return msgspec.structs.replace(page, files=files, versions=versions)

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        return self._cut(await self.source.get_project_page(project, context=context))

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        page = await self.get_project_page(project, context=context)
        if page.find(filename.distribution) is None:
            raise ResourceNotFound(project, filename)
        return await self.source.get_resource(project, filename, context=context)


def create_snapshots(source: Repository) -> FastAPI:
    """An application that serves the source as it was on any day."""
    whole = MetadataInjectorRepository(source)

    @lru_cache(maxsize=100)
    def snapshot(cutoff_date: date) -> Repository:
        return SnapshotRepository(whole, day=cutoff_date)

    async def choose(cutoff_date: date) -> Repository:
        return snapshot(cutoff_date)

    app = FastAPI()
    app.include_router(
        build_router(whole, prefix="/snapshot/{cutoff_date}/simple/", repository_factory=choose)
    )
    return app


def main() -> None:
    """Serve snapshots of a directory or an index."""
    import uvicorn

    try:
        (where,) = sys.argv[1:]
    except ValueError:
        sys.exit("usage: python examples/snapshot.py DIRECTORY_OR_INDEX_URL")
    source = HttpRepository(where) if "://" in where else LocalRepository(where)
    uvicorn.run(create_snapshots(source))


if __name__ == "__main__":
    main()
