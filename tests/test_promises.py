"""What the original's own README promises, item by item, each kept by the running command.

The numbers are those of the contract.
"""

import http.client
import json
import re
import subprocess
import sys
from contextlib import closing
from email import message_from_bytes
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
import pytest
from fastapi import FastAPI

from simple_repository_server import (
    LocalRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    build_router,
)
from simple_repository_server.cli.serve import command
from simple_repository_server.testing import (
    Reply,
    Upstream,
    build_sdist,
    build_wheel,
    publish_html,
    publish_json,
)
from tests.asgi import JSON, ask, running
from tests.clients.installers import installed, run
from tests.serving import Server, serving

NAME = "srs-fixture-promise"
OWN, PUBLIC = build_wheel(NAME, "1.0"), build_wheel(NAME, "99.0")
OTHER = build_wheel("srs-fixture-other", "2.0")


class _Answer(msgspec.Struct):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def _get(server: Server, target: str, **headers: str) -> _Answer:
    """What the server itself says: redirects are not followed."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    with closing(connection):
        connection.request("GET", target, headers=headers)
        with connection.getresponse() as response:
            return _Answer(response.status, response.headers, response.read())


def _page(server: Server, project: str) -> Any:
    answer = _get(server, f"/simple/{project}/", Accept=JSON)
    assert answer.status == 200, answer.body
    return answer.json()


def _file(server: Server, project: str, entry: Any) -> _Answer:
    """The file of a page's entry, at the address that stands there."""
    return _get(server, urljoin(f"/simple/{project}/", entry["url"]))


def _folder(path: Path, **files: bytes) -> Path:
    """A directory with a file at each path."""
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_1_distribution_has_a_library_and_a_command() -> None:
    """The distribution has an importable package and a command of its name."""
    found = distribution("simple-repository-server")
    (script,) = found.entry_points.select(group="console_scripts")
    assert script.name == "simple-repository-server"
    shown = _run(Path(sys.executable).with_name("simple-repository-server"), "--version")
    assert found.version in shown.stdout
    imported = _run(
        sys.executable, "-c", "from simple_repository_server import LocalRepository, create_app"
    )
    assert (imported.returncode, imported.stderr) == (0, "")


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("module", [False, True])
def test_2_help_shows_the_usage(option: str, module: bool) -> None:
    """Command and module print help with the options of the original."""
    path = Path(sys.executable).with_name("simple-repository-server")
    shown = _run(
        *([sys.executable, "-m", "simple_repository_server"] if module else [path]), option
    )
    assert shown.returncode == 0
    for text in ("Usage: simple-repository-server", "--port", "--stream-http-resources", "SOURCE"):
        assert text in shown.stdout


def test_2_several_sources_a_port_and_streaming(tmp_path: Path, upstream: Upstream) -> None:
    """Any number of addresses and directories, with the options in the order of the usage."""
    publish_json(upstream, [OTHER])
    folder = _folder(tmp_path / "own", **{OWN.filename: OWN.content})
    with serving(tmp_path, "--stream-http-resources", folder, upstream.simple) as server:
        listed = _get(server, "/simple/", Accept=JSON).json()["projects"]
        assert [project["name"] for project in listed] == ["srs-fixture-other", NAME]
    unknown = _run(sys.executable, "-m", "simple_repository_server", "--port", "70000", folder)
    assert unknown.returncode == 2


def test_3_default_port_is_8000() -> None:
    """The default address is that of the original, which is in users' configurations."""
    defaults = {parameter.name: parameter.default for parameter in command.params}
    assert defaults["port"] == 8000
    assert defaults["host"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("variable", "client"),
    [
        ("PIP_INDEX_URL", ("pip", "install", "--no-cache-dir", "--only-binary", ":all:")),
        ("UV_INDEX_URL", ("uv", "pip", "install", "--no-build", "--python", sys.executable)),
    ],
)
def test_3_clients_find_the_index_by_their_variables(
    tmp_path: Path, variable: str, client: tuple[str, ...]
) -> None:
    """`PIP_INDEX_URL` or `UV_INDEX_URL` with `localhost` is all that a client needs."""
    folder = _folder(tmp_path / "own", **{OWN.filename: OWN.content})
    with serving(tmp_path, folder) as server:
        index = server.simple.replace("127.0.0.1", "localhost")
        done = run(tmp_path, *client, "--target", tmp_path / "target", NAME, **{variable: index})
        assert done.status == 0, done.output
        assert installed(tmp_path) == {NAME.replace("-", "_"): "1.0"}


def test_4_one_index_is_mirrored(tmp_path: Path, upstream: Upstream) -> None:
    """All projects and files of the one index there is, by the same names and digests."""
    publish_json(upstream, [PUBLIC, OTHER])
    with serving(tmp_path, upstream.simple) as server:
        listed = _get(server, "/simple/", Accept=JSON).json()["projects"]
        assert {project["name"] for project in listed} == {NAME, "srs-fixture-other"}
        (entry,) = _page(server, NAME)["files"]
        assert (entry["filename"], entry["hashes"]) == (PUBLIC.filename, {"sha256": PUBLIC.sha256})


def test_4_the_first_source_that_has_a_project_owns_it(tmp_path: Path, upstream: Upstream) -> None:
    """Local before remote: the project here is not mixed with the one of that name out there."""
    publish_json(upstream, [PUBLIC, OTHER])
    folder = _folder(tmp_path / "own", **{OWN.filename: OWN.content})
    with serving(tmp_path, folder, upstream.simple) as server:
        assert _page(server, NAME)["versions"] == ["1.0"]
        assert _page(server, "srs-fixture-other")["versions"] == ["2.0"]
        assert _get(server, f"/resources/{NAME}/{PUBLIC.filename}").status == 404
    with serving(tmp_path, upstream.simple, folder) as server:
        assert _page(server, NAME)["versions"] == ["99.0"]


def test_5_html_or_json_is_negotiated(tmp_path: Path) -> None:
    """`Accept` decides, HTML is the default, and `?format=` overrides it for browsers."""
    folder = _folder(tmp_path / "own", **{OWN.filename: OWN.content})
    with serving(tmp_path, folder) as server:
        for target in ("/simple/", f"/simple/{NAME}/"):
            for headers in ({}, {"Accept": "*/*"}, {"Accept": "text/html"}):
                plain = _get(server, target, **headers)
                assert plain.headers.get_content_type() == "text/html"
            assert _get(server, target, Accept=JSON).headers.get_content_type() == JSON
            for form in (JSON, JSON.replace("+", "%2B")):
                preview = _get(server, f"{target}?format={form}", Accept="text/html")
                assert preview.headers.get_content_type() == JSON
                assert preview.json()["meta"]["api-version"].startswith("1.")


@pytest.mark.parametrize("publish", [publish_json, publish_html])
def test_6_every_wheel_has_metadata(tmp_path: Path, upstream: Upstream, publish: Any) -> None:
    """Announced on the page and served beside the file, whether or not the index behind has it."""
    publish(upstream, [PUBLIC])
    folder = _folder(tmp_path / "own", **{OTHER.filename: OTHER.content})
    with serving(tmp_path, folder, upstream.simple) as server:
        for built, project in ((PUBLIC, NAME), (OTHER, "srs-fixture-other")):
            (entry,) = _page(server, project)["files"]
            assert entry["core-metadata"]
            found = _file(server, project, {"url": f"{entry['url']}.metadata"})
            assert (found.status, found.body) == (200, built.metadata)


def test_7_index_can_be_browsed_by_programs(tmp_path: Path, upstream: Upstream) -> None:
    """Names, pages, dates, sizes and metadata are available."""
    publish_json(upstream, [PUBLIC, OTHER, build_sdist(NAME, "99.0")])
    with serving(tmp_path, upstream.simple) as server:
        for project in _get(server, "/simple/", Accept=JSON).json()["projects"]:
            page = _page(server, project["name"])
            assert page["name"] == project["name"]
            assert page["versions"]
            for entry in page["files"]:
                assert entry["size"] > 0
                assert entry["upload-time"].endswith("Z")
                if entry["filename"].endswith(".whl"):
                    address = {"url": f"{entry['url']}.metadata"}
                    metadata = message_from_bytes(_file(server, page["name"], address).body)
                    assert metadata["Name"] == page["name"]
                    assert metadata["Version"] in page["versions"]


def test_8_directories_have_a_folder_per_project(tmp_path: Path) -> None:
    """Folders have canonical names; sdists may have hyphenated names."""
    wheel, sdist = build_wheel("my-package", "1.0.0"), build_sdist("my-package", "1.0.0")
    legacy = sdist.filename.replace("my_package", "my-package")
    folder = _folder(
        tmp_path / "own",
        **{
            f"my-package/{wheel.filename}": wheel.content,
            f"my-package/{legacy}": sdist.content,
            f"{NAME}/{OWN.filename}": OWN.content,
        },
    )
    with serving(tmp_path, folder) as server:
        page = _page(server, "my-package")
        assert page["versions"] == ["1.0.0"]
        contents = {
            entry["filename"]: _file(server, "my-package", entry).body for entry in page["files"]
        }
        assert contents == {wheel.filename: wheel.content, legacy: sdist.content}
        assert _page(server, NAME)["versions"] == ["1.0"]
        assert _get(server, "/simple/My.Package/").status == 301


def test_9_local_metadata_files_are_served_directly(tmp_path: Path) -> None:
    """What lies beside a file is its metadata, byte for byte; what does not is extracted."""
    sdist = build_sdist(NAME, "1.0")
    beside = OWN.metadata.replace(b"A distribution of", b"Told beside it:")
    folder = _folder(
        tmp_path / "own",
        **{
            f"{NAME}/{OWN.filename}": OWN.content,
            f"{NAME}/{OWN.filename}.metadata": beside,
            f"{NAME}/{sdist.filename}": sdist.content,
            f"{NAME}/{sdist.filename}.metadata": sdist.metadata,
            f"srs-fixture-other/{OTHER.filename}": OTHER.content,
        },
    )
    with serving(tmp_path, folder) as server:
        expected = {OWN.filename: beside, sdist.filename: sdist.metadata}
        entries = {entry["filename"]: entry for entry in _page(server, NAME)["files"]}
        assert entries.keys() == expected.keys()
        for name, content in expected.items():
            found = _file(server, NAME, {"url": f"{entries[name]['url']}.metadata"})
            assert (found.status, found.body) == (200, content)
            digest = sha256(content).hexdigest()
            assert entries[name]["core-metadata"] == {"sha256": digest}
        (extracted,) = _page(server, "srs-fixture-other")["files"]
        address = {"url": f"{extracted['url']}.metadata"}
        assert _file(server, "srs-fixture-other", address).body == OTHER.metadata


@pytest.mark.parametrize("place", ["home", "NETRC"])
def test_10_credentials_come_from_netrc(tmp_path: Path, upstream: Upstream, place: str) -> None:
    """From the file in the home directory, or the one that `NETRC` names."""
    publish_json(upstream, [PUBLIC])
    home = tmp_path / "somebody"
    home.mkdir()
    netrc = home / ".netrc" if place == "home" else tmp_path / "elsewhere"
    netrc.write_text("machine 127.0.0.1 login jane password word\n")
    netrc.chmod(0o600)
    environment: Any = {"NETRC": str(netrc)} if place == "NETRC" else {}
    with serving(tmp_path, upstream.simple, HOME=str(home), **environment) as server:
        assert _page(server, NAME)["versions"] == ["99.0"]
    sent = {request.headers.get("authorization") for request in upstream.requests}
    assert sent == {"Basic amFuZTp3b3Jk"}


def test_11_files_are_redirected_or_streamed(tmp_path: Path, upstream: Upstream) -> None:
    """By default clients are redirected to the origin; with the option files are streamed.

    It comes through, too, where the source has credentials that clients lack.
    """
    publish_json(upstream, [PUBLIC])
    private = upstream.simple.replace("//", "//jane:word@")
    for arguments, status in (
        ((upstream.simple,), 302),
        (("--stream-http-resources", upstream.simple), 200),
        ((private,), 200),
    ):
        with serving(tmp_path, *arguments) as server:
            (entry,) = _page(server, NAME)["files"]
            found = _file(server, NAME, entry)
            assert found.status == status
            if status == 302:
                origin = f"/files/{PUBLIC.sha256[:2]}/{PUBLIC.filename}"
                assert found.headers["Location"] == f"{upstream.url}{origin}"
            else:
                assert found.body == PUBLIC.content


@pytest.mark.anyio
async def test_12_index_is_part_of_a_fastapi_application(tmp_path: Path) -> None:
    """An application with its own routes has an index at the prefix it chooses."""
    own = _folder(tmp_path / "own", **{OWN.filename: OWN.content})
    other = _folder(tmp_path / "other", **{OTHER.filename: OTHER.content})
    sources = [LocalRepository(own), LocalRepository(other)]
    repository = MetadataInjectorRepository(PrioritySelectedProjectsRepository(sources))
    app = FastAPI(title="ours")
    app.include_router(build_router(repository, prefix="/team/simple/"))

    @app.get("/about")
    async def about() -> dict[str, str]:
        return {"title": app.title}

    async with running(app) as served:
        assert (await ask(served, "/about")).json() == {"title": "ours"}
        page = await ask(served, f"/team/simple/{NAME}/", headers={"Accept": JSON})
        (entry,) = page.json()["files"]
        address = urljoin(f"/team/simple/{NAME}/", entry["url"])
        assert (await ask(served, address)).body == OWN.content


def test_13_newer_standards_are_on_by_default(tmp_path: Path, upstream: Upstream) -> None:
    """Without any option, pages have all attributes of newer standards."""
    publish_json(upstream, [PUBLIC], extra={"yanked": "for a reason"})
    rich = json.loads(_scripted(upstream, f"/simple/{NAME}/").body)
    rich["project-status"] = {"status": "deprecated", "reason": "see elsewhere"}
    rich["files"][0]["provenance"] = f"{upstream.url}/provenance"
    upstream.on(
        f"/simple/{NAME}/", Reply(headers={"Content-Type": JSON}, body=json.dumps(rich).encode())
    )
    with serving(tmp_path, upstream.simple) as server:
        page = _page(server, NAME)
        version = tuple(map(int, re.findall(r"\d+", page["meta"]["api-version"])))
        assert version >= (1, 4)
        assert page["project-status"] == rich["project-status"]
        assert page["versions"] == ["99.0"]
        (entry,) = page["files"]
        for key in ("hashes", "size", "upload-time", "requires-python", "yanked", "provenance"):
            assert entry[key] == rich["files"][0][key]
        assert entry["core-metadata"] == {"sha256": PUBLIC.metadata_sha256}


def _scripted(upstream: Upstream, target: str) -> _Answer:
    connection = http.client.HTTPConnection(urlsplit(upstream.url).netloc, timeout=30)
    with closing(connection):
        connection.request("GET", target)
        with connection.getresponse() as response:
            return _Answer(response.status, response.headers, response.read())
