"""What upstream says of a project reaches clients unchanged: all but addresses and envelopes."""

import json
from typing import Any

import pytest

from simple_repository_server import (
    DenyListRepository,
    HttpRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    create_app,
)
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from tests.asgi import JSON, ask, running

pytestmark = pytest.mark.anyio

#: A page with everything that is legal and odd: old formats, yanks, microseconds, local versions,
#: variants, provenance, private and unknown keys.
AWKWARD: dict[str, Any] = {
    "meta": {"api-version": "1.4", "_last-serial": 12345, "_secret": "of the upstream"},
    "name": "awkward",
    "project-status": {"status": "deprecated", "reason": 'use "other" <instead>'},
    "alternate-locations": ["https://elsewhere.example/"],
    "namespaces": None,
    "versions": ["0.1", "1.0", "1.0+cu118", "2.0rc1", "3.0-without-files"],
    "files": [
        {
            "filename": "awkward-0.1.win32-py2.7.exe",
            "url": "https://files.example/a/awkward-0.1.win32-py2.7.exe",
            "hashes": {"sha256": "11" * 32, "md5": "22" * 16},
            "size": 0,
            "upload-time": "2011-02-03T04:05:06.000007Z",
            "requires-python": None,
            "yanked": False,
        },
        {
            "filename": "Awkward-1.0.tar.gz",
            "url": "https://files.example/b/Awkward-1.0.tar.gz?sig=a%2Fb",
            "hashes": {"sha256": "33" * 32},
            "size": 7,
            "upload-time": "2012-01-01T00:00:00Z",
            "requires-python": ">=2.7,!=3.0.*,",
            "yanked": "oops <&> \u2028",
        },
        {
            "filename": "awkward-1.0+cu118-cp311-cp311-linux_x86_64.whl",
            "url": "https://files.example/c/awkward-1.0%2Bcu118-cp311-cp311-linux_x86_64.whl",
            "hashes": {"sha256": "44" * 32},
            "size": 2**33,
            "upload-time": "2024-01-17T16:53:12.779164Z",
            "core-metadata": {"sha256": "55" * 32},
            "provenance": "https://index.example/integrity/awkward/provenance",
            "gpg-sig": True,
            "yanked": True,
            "_private": 1,
            "future-key": {"x": 1},
        },
        {
            "filename": "awkward-2.0rc1-py2.py3-none-any.whl",
            "url": "https://files.example/d/awkward-2.0rc1-py2.py3-none-any.whl",
            "hashes": {},
            "size": 9,
            "core-metadata": True,
            "yanked": False,
        },
        {
            "filename": "awkward-2.0rc1-variants.json",
            "url": "https://files.example/e/awkward-2.0rc1-variants.json",
            "hashes": {"sha256": "66" * 32},
            "size": 10,
            "yanked": False,
        },
    ],
}
#: What a proxy recomputes, strips, or may not pass on under its own version.
_OURS = {"url", "gpg-sig", "_private", "future-key"}


async def _served(upstream: Upstream, page: dict[str, Any]) -> dict[str, Any]:
    upstream.on(
        "/simple/awkward/",
        Reply(headers={"Content-Type": JSON}, body=json.dumps(page).encode()),
    )
    source = HttpRepository(upstream.simple)
    async with running(create_app(MetadataInjectorRepository(source))) as app:
        return dict((await ask(app, "/simple/awkward/", headers={"Accept": JSON})).json())


async def test_an_awkward_page_passes_through(upstream: Upstream) -> None:
    """File by file all that upstream says is said again, dates to the microsecond."""
    served = await _served(upstream, AWKWARD)
    for there, here in zip(AWKWARD["files"], served["files"], strict=True):
        expected = {k: v for k, v in there.items() if k not in _OURS and v is not None}
        assert {key: value for key, value in here.items() if key != "url"} == expected
    for key in ("name", "versions", "project-status"):
        assert served[key] == AWKWARD[key]


async def test_another_servers_keys_stay_there(upstream: Upstream) -> None:
    """Private and unknown keys of upstream are not passed on; its serial is."""
    served = await _served(upstream, AWKWARD)
    assert served["meta"] == {"api-version": "1.4", "_last-serial": 12345}
    assert "alternate-locations" not in served
    assert "namespaces" not in served
    assert "gpg-sig" not in str(served)


async def test_a_newer_minor_version_is_read(upstream: Upstream) -> None:
    """An upstream of a later minor version is read; what we claim stays our own."""
    served = await _served(upstream, {**AWKWARD, "meta": {"api-version": "1.99"}})
    assert served["meta"] == {"api-version": "1.4"}
    assert len(served["files"]) == len(AWKWARD["files"])


async def test_a_denied_project_is_denied_everywhere(upstream: Upstream) -> None:
    """Under every spelling, as page, file and metadata; the others are not touched."""
    wheels = [build_wheel("Denied_Project"), build_wheel("fine")]
    publish_json(upstream, wheels)
    source = DenyListRepository(HttpRepository(upstream.simple), denied=["denied.project"])
    repository = MetadataInjectorRepository(PrioritySelectedProjectsRepository([source]))
    async with running(create_app(repository)) as app:
        for spelling in ("denied-project", "Denied_Project", "DENIED.PROJECT"):
            for target in (
                f"/simple/{spelling}/",
                f"/resources/{spelling}/{wheels[0].filename}",
                f"/resources/{spelling}/{wheels[0].filename}.metadata",
            ):
                response = await ask(app, target)
                while response.status == 301:
                    response = await ask(app, "/simple/denied-project/")
                assert response.status == 404, target
        listed = (await ask(app, "/simple/", headers={"Accept": JSON})).json()["projects"]
        assert [project["name"] for project in listed] == ["fine"]
        assert (await ask(app, f"/resources/fine/{wheels[1].filename}")).status == 302


async def test_us_in_front_of_us_says_the_same(upstream: Upstream, tmp_path: Any) -> None:
    """A server of ours as the upstream of another one: the same page, byte for byte."""
    from tests.serving import serving

    publish_json(upstream, [build_wheel("foo", "1.0"), build_wheel("foo", "2.0")])
    with serving(tmp_path, upstream.simple) as first, serving(tmp_path, first.simple) as second:
        import http.client
        from urllib.parse import urlsplit

        bodies = []
        for server in (first, second):
            connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
            connection.request("GET", "/simple/foo/", headers={"Accept": JSON})
            bodies.append(connection.getresponse().read())
            connection.close()
    assert bodies[0] == bodies[1]
