"""The examples do what they say."""

import os
import runpy
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from examples.snapshot import create_snapshots

from simple_repository_server import LocalRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from tests.asgi import JSON, ask, running

pytestmark = pytest.mark.anyio
EXAMPLES = Path(__file__).parents[2] / "examples"


async def test_snapshot_example_serves_the_files_of_a_date(tmp_path: Path) -> None:
    """Pages, files and metadata are those uploaded until that date."""
    wheels = {version: build_wheel("foo", version) for version in ("1.0", "2.0")}
    for year, built in zip((2020, 2022), wheels.values(), strict=True):
        path = tmp_path / built.filename
        path.write_bytes(built.content)
        moment = datetime(year, 6, 1, 12, tzinfo=UTC).timestamp()
        os.utime(path, (moment, moment))
    async with running(create_snapshots(LocalRepository(tmp_path))) as app:
        for day, versions in (
            ("2020-05-31", []),
            ("2020-06-01", ["1.0"]),
            ("2022-06-02", ["1.0", "2.0"]),
        ):
            base = f"/snapshot/{day}"
            page = await ask(app, f"{base}/simple/foo/", headers={"Accept": JSON})
            assert page.json()["versions"] == versions
            for version, built in wheels.items():
                for suffix in ("", ".metadata"):
                    target = f"{base}/resources/foo/{built.filename}{suffix}"
                    expected = 200 if version in versions else 404
                    assert (await ask(app, target)).status == expected
        assert (await ask(app, "/snapshot/not-a-date/simple/foo/")).status == 422


async def test_own_server_example_serves_private_and_allowed_packages(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Private packages and allowed public ones are served, and nothing else."""
    private = build_wheel("private")
    (tmp_path / private.filename).write_bytes(private.content)
    publish_json(upstream, [build_wheel("requests"), build_wheel("other")])
    monkeypatch.setattr(sys, "argv", ["own_server.py", str(tmp_path), upstream.simple])
    names = runpy.run_path(str(EXAMPLES / "own_server.py"))
    async with running(names["app"]) as app:
        statuses = [
            (await ask(app, f"/simple/{name}/")).status for name in ("private", "requests", "other")
        ]
        listed = (await ask(app, "/simple/", headers={"Accept": JSON})).json()["projects"]
    assert statuses == [200, 200, 404]
    assert [project["name"] for project in listed] == ["private", "requests"]
