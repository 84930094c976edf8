"""A server of your own in ten lines: private packages first, a few public ones, nothing else.

python examples/own_server.py DIRECTORY INDEX_URL
"""

import sys

import uvicorn

from simple_repository_server import (
    AllowListRepository,
    HttpRepository,
    LocalRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    create_app,
)

directory, index_url = sys.argv[1:]
public = AllowListRepository(HttpRepository(index_url), allowed=["requests", "numpy"])
both = PrioritySelectedProjectsRepository([LocalRepository(directory), public])
app = create_app(MetadataInjectorRepository(both))

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
