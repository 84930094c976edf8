"""The recipe of a company in front of PyPI, as it stands, with unmodified pip, uv and poetry."""

import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simple_repository_server.testing.distributions import build_wheel
from tests.clients.installers import Result, installed, pip_install, run, uv_install
from tests.documents.places import FILE_NAME, company_folder
from tests.documents.published import Published, on, public_files, publish
from tests.documents.stand_ins import StandIns
from tests.documents.transcripts import answer_of, toml_blocks
from tests.serving import Server, comes_true, serving

RECIPE = Path(__file__).parents[2] / "docs" / "recipes" / "company.md"
TOKEN = "t0ken/with:signs@and%"
RESEARCH = "packages.research.example"
NEEDS = ["corp-tools", "research-models", "requests", "urllib3"]
APPLICATION = build_wheel("corp-app", "1.0", requires=NEEDS)
#: What each client must get: 2.33.0 of requests is too young, 2.6.1 of urllib3 a fix, and 99.0 of
#: corp-tools and research-models somebody else's.
EXPECTED = {
    "corp-app": "1.0",
    "corp-tools": "1.0",
    "research-models": "1.0",
    "requests": "2.32.3",
    "urllib3": "2.6.1",
}
YOUNG = "requests-2.33.0-py3-none-any.whl"


class Company:
    """The folder of the recipe's file, and the world outside."""

    def __init__(self, folder: Path, stand_ins: StandIns) -> None:
        (text,) = toml_blocks(RECIPE)
        self.folder = folder
        self.config = company_folder(folder, text)
        self.stand_ins = stand_ins
        self.research = stand_ins.host(RESEARCH)
        application = folder / "packages" / "corp-app"
        application.mkdir()
        (application / APPLICATION.filename).write_bytes(APPLICATION.content)

        #: The environment of the server.
        self.variables: dict[str, Any] = {**stand_ins.environment, "RESEARCH_TOKEN": TOKEN}

    @contextmanager
    def serving(self, logs: Path, *options: str) -> Iterator[Server]:
        """The command with the file, but for its address, once it has read the advisories."""
        arguments: list[str | Path] = ["--config", self.config, "--host", "127.0.0.1", *options]
        with serving(logs, *arguments, **self.variables) as server:
            reading = "is still being read"
            assert comes_true(lambda: reading not in answer_of(server, "/simple/corp-tools/"))
            yield server

    @property
    def asked_of_pypi(self) -> list[str]:
        """The paths of which the stand-in for PyPI was asked anything."""
        return [request.target for request in self.stand_ins.pypi.requests]

    def assert_private_names_stayed_private(self) -> None:
        """PyPI was queried for no reserved name."""
        private = [path for path in self.asked_of_pypi if "corp" in path or "research" in path]
        assert private == []


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """The company, another team's index with a password, and PyPI, where its names are taken."""
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    stolen = [
        Published(build_wheel(name, "99.0"), on("2024-07-01"))
        for name in ("corp-app", "research-models", "corp-secret")
    ]
    models = [Published(build_wheel("research-models", "1.0"), None)]
    with StandIns(folder) as stand_ins:
        publish(stand_ins.pypi, [*public_files(), *stolen])
        publish(stand_ins.host(RESEARCH), models, user=("ci", TOKEN))
        yield Company(tmp_path / "company", stand_ins)


@pytest.fixture
def server(company: Company, tmp_path: Path) -> Iterator[Server]:
    """The command with the recipe's file."""
    with company.serving(tmp_path) as running:
        yield running


def _poetry_lock(folder: Path, index: str, *wanted: str) -> Result:
    (folder / "pyproject.toml").write_text(
        f"""
[project]
name = "srs-fixture-consumer"
version = "0"
requires-python = ">=3.11,<3.15"
dependencies = {json.dumps(list(wanted))}
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "company"
url = "{index}"
priority = "primary"
"""
    )
    return run(folder, "poetry", "lock", "--no-interaction")


Install = Callable[..., Result]
CLIENTS: Mapping[str, Install] = {"pip": pip_install, "uv": uv_install, "poetry": _poetry_lock}


def _chosen(folder: Path) -> dict[str, str]:
    """What a client installed, or locked."""
    lock = folder / "poetry.lock"
    if lock.exists():
        packages = tomllib.loads(lock.read_text())["package"]
        return {package["name"]: package["version"] for package in packages}
    return {name.replace("_", "-"): version for name, version in installed(folder).items()}


def _flowing(result: Result) -> str:
    """The output without line breaks: clients wrap lines, uv with a mark before each."""
    return " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_gets_what_the_rules_show(
    company: Company, server: Server, tmp_path: Path, client: str
) -> None:
    """An application comes with the versions the rules show, each from the source that owns it."""
    result = CLIENTS[client](tmp_path, server.simple, "corp-app")
    assert result.status == 0, result.output
    assert _chosen(tmp_path) == EXPECTED
    company.assert_private_names_stayed_private()
    assert TOKEN not in server.log + result.output


def test_the_password_may_be_in_a_netrc_file(company: Company, tmp_path: Path) -> None:
    """Without `user` and `password` in the file, those of the netrc file are used."""
    lines = company.config.read_text().splitlines()
    without = [line for line in lines if not line.startswith(("user =", "password ="))]
    assert len(without) == len(lines) - 2
    company.config.write_text("\n".join(without))
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {RESEARCH} login ci password {TOKEN}\n")
    netrc.chmod(0o600)
    company.variables = {**company.stand_ins.environment, "NETRC": str(netrc)}
    with company.serving(tmp_path) as server:
        result = pip_install(tmp_path, server.simple, "research-models")
    assert result.status == 0, result.output
    assert _chosen(tmp_path) == {"research-models": "1.0"}


HIDDEN = {
    "too young": "requests==2.33.0",
    "denied version": "requests==2.31.0",
    "denied project": "leftpad",
    "malicious": "reqeusts",
    "reserved, and only at PyPI": "corp-secret",
    "reserved, and newer at PyPI": "corp-tools>1",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_gets_what_is_hidden(
    company: Company, server: Server, tmp_path: Path, client: str
) -> None:
    """Each hidden project and version is as absent as one that does not exist."""
    for why, wanted in HIDDEN.items():
        result = CLIENTS[client](tmp_path, server.simple, wanted)
        assert result.status != 0, why
        assert _chosen(tmp_path) == {}, why
    company.assert_private_names_stayed_private()
    assert not any("leftpad" in path for path in company.asked_of_pypi)


def _documented() -> dict[str, list[str]]:
    """What docs/clients.md says that each client shows."""
    text = (RECIPE.parents[1] / "clients.md").read_text()
    rows = text.partition("| client, if a rule hides |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    return {client: shown for client, *shown in cells}


@pytest.mark.parametrize("client", CLIENTS)
def test_what_clients_show_of_hidden_things_is_documented(
    server: Server, tmp_path: Path, client: str
) -> None:
    """Each client reports a hidden project, version and file as docs/clients.md says."""
    address = f"{server.url}resources/requests/{YOUNG}"
    wanted = ("leftpad", "requests==2.33.0", f"requests @ {address}")
    for text, documented in zip(wanted, _documented()[client], strict=True):
        result = CLIENTS[client](tmp_path, server.simple, text)
        assert result.status != 0
        expected = "hidden by the rule min-age" if documented == "the sentence" else documented
        assert expected.strip("`") in _flowing(result)


def test_pip_does_not_list_hidden_versions(server: Server, tmp_path: Path) -> None:
    """The versions pip offers instead are those that are shown."""
    result = pip_install(tmp_path, server.simple, "requests==2.33.0")
    assert "(from versions: 2.32.3)" in result.output


ADDRESSES = {
    YOUNG: ("requests", "uploaded ", "shown from ", "new releases wait for a week"),
    "requests-2.31.0-py3-none-any.whl": ("requests", "2.31.0 is denied; see the security board"),
    "leftpad-1.0-py3-none-any.whl": ("leftpad", "the project is denied; see the security board"),
    "reqeusts-1.0-py3-none-any.whl": ("reqeusts", "MAL-2024-0001"),
}


@pytest.mark.parametrize("client", ["pip", "uv"])
@pytest.mark.parametrize("filename", ADDRESSES)
def test_an_address_of_a_hidden_file_is_refused_with_the_reason(
    server: Server, tmp_path: Path, client: str, filename: str
) -> None:
    """Who installs a hidden file by its address reads which rule hides it, why, and until when."""
    project, *sentences = ADDRESSES[filename]
    address = f"{server.url}resources/{project}/{filename}"
    result = CLIENTS[client](tmp_path, server.simple, f"{project} @ {address}")
    assert result.status != 0
    assert _chosen(tmp_path) == {}
    shown = _flowing(result)
    assert "hidden by the rule" in shown
    for sentence in sentences:
        assert sentence in shown


PROJECT = """
[project]
name = "srs-fixture-consumer"
version = "0"
requires-python = ">=3.11,<3.15"
dependencies = ["requests"]
"""


def _without_cooldown(company: Company) -> str:
    """The file of the recipe before the cooldown was introduced."""
    text = company.config.read_text()
    before, found, _ = text.partition("[[sources.pypi.rules]]")
    assert found
    return before


def test_a_lock_file_from_before_the_rule_is_refused_with_the_reason(
    company: Company, tmp_path: Path
) -> None:
    """A lock file of uv that pins a version which is hidden by now does not install it."""
    after = company.config.read_text()
    company.config.write_text(_without_cooldown(company))
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    python = ("--python", sys.executable)
    with company.serving(tmp_path) as server:
        port = server.url.rstrip("/").rpartition(":")[2]
        locked = run(tmp_path, "uv", "lock", "--default-index", server.simple, *python)
        assert locked.status == 0, locked.output
        assert YOUNG in (tmp_path / "uv.lock").read_text()
        warm = answer_of(server, f"/resources/requests/{YOUNG}")
        assert warm == "200", "it is in the cache from now on"
    company.config.write_text(after)
    with company.serving(tmp_path, "--port", port):
        synced = run(tmp_path, "uv", "sync", "--frozen", *python)
    assert synced.status != 0
    shown = _flowing(synced)
    assert "hidden by the rule" in shown
    assert "new releases wait for a week" in shown
    assert not list((tmp_path / ".venv").rglob("requests.py"))


def test_poetry_does_not_install_a_locked_version_that_is_hidden(
    company: Company, tmp_path: Path
) -> None:
    """A lock file of poetry from before the rule does not bring the version back."""
    after = company.config.read_text()
    company.config.write_text(_without_cooldown(company))
    with company.serving(tmp_path) as server:
        port = server.url.rstrip("/").rpartition(":")[2]
        locked = _poetry_lock(tmp_path, server.simple, "requests")
        assert locked.status == 0, locked.output
        assert _chosen(tmp_path) == {"requests": "2.33.0"}
    company.config.write_text(after)
    environment = {"POETRY_VIRTUALENVS_IN_PROJECT": "true"}
    with company.serving(tmp_path, "--port", port):
        # Its cache has the page from before.
        done = run(
            tmp_path, "poetry", "sync", "--no-interaction",
            **{**environment, "POETRY_CACHE_DIR": str(tmp_path / "another-cache")},
        )  # fmt: skip
    assert done.status != 0
    assert "Unable to find installation candidates" in _flowing(done)
    assert not list((tmp_path / ".venv").rglob("requests.py"))


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("wanted", ["research-models", "corp-tools", "numpy"])
def test_when_a_private_source_is_down_nobody_else_is_queried(
    company: Company, tmp_path: Path, client: str, wanted: str
) -> None:
    """The installation fails with 503, for reserved names and for those the source may have."""
    if wanted == "corp-tools":
        (company.folder / "packages").rename(company.folder / "elsewhere")
        (company.folder / "packages").mkdir()
        (company.folder / "packages" / "corp-tools").mkdir()
    company.research.refuse()
    with company.serving(tmp_path) as server:
        answer = answer_of(server, f"/simple/{wanted}/")
        if wanted == "corp-tools":
            assert answer == "200 no files"
        else:
            assert answer.startswith(f"503 The source https://{RESEARCH}/simple/ is unavailable")
        result = CLIENTS[client](tmp_path, server.simple, wanted)
    assert result.status != 0
    assert _chosen(tmp_path) == {}
    assert company.asked_of_pypi == []


def test_when_the_private_directory_is_not_mounted_nobody_else_is_queried(
    company: Company, server: Server, tmp_path: Path
) -> None:
    """A directory whose projects are gone is a failure, not an empty source."""
    assert answer_of(server, "/simple/corp-tools/").startswith("200 corp_tools-1.0")
    packages = company.folder / "packages"
    packages.rename(company.folder / "elsewhere")
    packages.mkdir()
    assert comes_true(lambda: answer_of(server, "/simple/corp-tools/").startswith("503"))
    for install in CLIENTS.values():
        assert install(tmp_path, server.simple, "corp-tools").status != 0
        assert _chosen(tmp_path) == {}
    company.assert_private_names_stayed_private()


def test_the_list_has_the_names_that_are_shown(company: Company, server: Server) -> None:
    """Reserved names of others and denied projects are in no list."""
    names = answer_of(server, "/simple/").removeprefix("200 ").split(", ")
    assert "requests" in names
    assert {"corp-app", "corp-tools", "research-models"} <= set(names)
    assert not {"corp-secret", "leftpad"} & set(names)


@pytest.mark.parametrize("name", ["corp-secret", "Corp_Secret", "CORP.secret", "corp", "corp-new"])
def test_a_reserved_name_is_never_requested_from_pypi(
    company: Company, server: Server, name: str
) -> None:
    """No page, file or metadata of a reserved name leads to PyPI, under any spelling."""
    file = "corp_secret-99.0-py3-none-any.whl"
    paths = [f"/simple/{name}/", f"/resources/{name}/{file}", f"/resources/{name}/{file}.metadata"]
    for path in paths:
        assert answer_of(server, path)[:3] in {"301", "404"}
    company.assert_private_names_stayed_private()


def test_without_advisories_nothing_is_shown(company: Company, tmp_path: Path) -> None:
    """While the folder of advisories is gone, the server refuses instead of serving unchecked."""
    with company.serving(tmp_path) as server:
        assert comes_true(lambda: answer_of(server, "/simple/requests/").startswith("200 requests"))
        (company.folder / "osv").rename(company.folder / "elsewhere")
        assert comes_true(lambda: answer_of(server, "/simple/requests/").startswith("503"))
        answer = answer_of(server, f"/resources/requests/{YOUNG.replace('33.0', '32.3')}")
        assert answer.startswith("503")
        assert "cannot be evaluated" in answer
        assert answer_of(server, "/readyz").startswith("503")
        assert pip_install(tmp_path, server.simple, "requests").status != 0
        (company.folder / "elsewhere").rename(company.folder / "osv")
        assert comes_true(lambda: answer_of(server, "/simple/requests/").startswith("200 requests"))


def test_what_was_refused_is_in_the_audit_file(
    company: Company, server: Server, tmp_path: Path
) -> None:
    """Each refusal and each file handed out is a JSON object in the file of the recipe."""
    audit = company.folder / "audit.jsonl"
    shown = "requests-2.32.3-py3-none-any.whl"
    assert answer_of(server, f"/resources/requests/{YOUNG}").startswith("403")
    assert pip_install(tmp_path, server.simple, "requests").status == 0

    def records() -> list[str]:
        return audit.read_text().splitlines() if audit.exists() else []

    def has(*texts: str) -> bool:
        return any(all(text in line for text in texts) for line in records())

    assert comes_true(lambda: has(YOUNG, "min-age"))
    assert comes_true(lambda: has(shown, "pypi"))
    assert all(isinstance(json.loads(line), dict) for line in records())


def test_the_file_is_found_in_the_working_directory(company: Company) -> None:
    """The recipe's name of the file is the one that is found without `--config`."""
    assert company.config.name == FILE_NAME
    assert toml_blocks(RECIPE)[0].startswith(f"# {FILE_NAME}\n")
