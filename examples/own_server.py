"""A server of your own in a few lines: private packages first, a few public ones, nothing else.

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

try:
    directory, index_url = sys.argv[1:]
except ValueError:
    sys.exit("usage: python examples/own_server.py DIRECTORY INDEX_URL")
public = AllowListRepository(HttpRepository(index_url), allowed=["requests", "numpy"])
both = PrioritySelectedProjectsRepository([LocalRepository(directory), public])
app = create_app(MetadataInjectorRepository(both))

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
