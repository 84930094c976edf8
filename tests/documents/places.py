"""The folder of a configuration file, with what the files in documents name beside them."""

import json
from pathlib import Path

from simple_repository_server.testing.distributions import build_wheel
from tests.documents.published import ADVISORIES

#: The private packages of the company of the examples.
PRIVATE = build_wheel("corp-tools", "1.0")
FILE_NAME = "simple-repository-server.toml"


def company_folder(folder: Path, text: str) -> Path:
    """The configuration file, in a folder with `packages`, `osv` and `yanked.json`."""
    packages = folder / "packages" / "corp-tools"
    packages.mkdir(parents=True)
    (packages / PRIVATE.filename).write_bytes(PRIVATE.content)
    write_advisories(folder / "osv")
    (folder / "yanked.json").write_text(json.dumps({"numpy": ["*-win_amd64.whl", "crashes"]}))
    config = folder / FILE_NAME
    config.write_text(text)
    return config


def write_advisories(folder: Path) -> None:
    """A folder of OSV records, one a file."""
    folder.mkdir(parents=True)
    for identifier, record in ADVISORIES.items():
        path = folder / f"{identifier}.json"
        path.write_text(json.dumps({"schema_version": "1.6.0", "id": identifier, **record}))
