"""What a build farm installs: 45 projects that depend on each other, published at an upstream."""

import hashlib
import json
import random
from pathlib import Path

from bench.published import Published, publish_built
from simple_repository_server.testing.distributions import build_wheel

PROJECTS = [f"farm-{number}" for number in range(45)]
#: A client asks for these; the others are dependencies of theirs.
WANTED = PROJECTS[:3]
#: Older releases on each page, which nobody downloads.
_OLDER = 30


def publish_farm(upstream: Path) -> list[Published]:
    """Write pages, wheels (median 160 kB) and metadata of all projects, and the list of them."""
    dice = random.Random(2)
    published = []
    for number, name in enumerate(PROJECTS):
        later = range(3 * number + 3, min(3 * number + 6, len(PROJECTS)))
        built = build_wheel(
            name,
            f"{_OLDER}.0",
            requires=[PROJECTS[one] for one in later],
            files={f"{name}/data.bin": dice.randbytes(int(dice.lognormvariate(12, 1.2)))},
            compressed=False,
        )
        older = [_older(name, release) for release in range(_OLDER)]
        published.append(publish_built(upstream, name, built, older=older))
    names = {"meta": {"api-version": "1.4"}, "projects": [{"name": name} for name in PROJECTS]}
    (upstream / "json" / "index.json").write_text(json.dumps(names))
    return published


def _older(project: str, release: int) -> dict[str, object]:
    filename = f"{project.replace('-', '_')}-{release}.0-py3-none-any.whl"
    return {
        "filename": filename,
        "url": f"../../files/{filename}",
        "hashes": {"sha256": hashlib.sha256(filename.encode()).hexdigest()},
        "requires-python": ">=3.8",
        "size": 1_000_000 + release,
        "upload-time": "2024-01-17T16:53:12.779164Z",
        "yanked": False,
        "core-metadata": {"sha256": hashlib.sha256(filename.encode()).hexdigest()},
    }
