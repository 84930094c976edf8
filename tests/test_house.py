"""Rules of the house that no other tool checks, and the map from mistakes of others to tests."""

import ast
import re
from pathlib import Path

import click
import pytest
from bench.farm import PROJECTS
from bench.traced import read_traces

import simple_repository_server
from simple_repository_server.cli.serve import command

ROOT = Path(__file__).parents[1]
#: Folders of what is installed for tests and benchmarks.
_FOREIGN = {".venv", ".peers", ".old", ".before"}
SOURCES = sorted((ROOT / "src").rglob("*.py"))

#: How others went wrong, each with the tests that would notice if we did.
SEEN_ELSEWHERE = {
    "double percent-encoding of %2B, ?sig=, @": ["test_file_urls_are_sent_unchanged"],
    "relative links resolved before the redirect": ["test_links_are_resolved_after_redirects"],
    "one odd entry failing a page": [
        "test_invalid_entries_are_dropped_and_reported_once",
        "test_invalid_values_never_invalidate_the_page",
    ],
    "upstream failures turned into 404 or a bare 500": [
        "test_failure_names_the_source_and_is_never_absence",
        "test_a_failing_first_source_fails_closed",
    ],
    "an Accept parameter turned into a 500": [
        "test_content_types",
        "test_no_header_breaks_negotiation",
    ],
    "rules bypassed by another spelling or the file's own address": [
        "test_a_denied_project_is_denied_everywhere",
        "test_hidden_is_hidden",
    ],
    "deny list inside a priority list: page from one, file from the other": [
        "test_project_denied_in_the_first_source_is_taken_wholly_from_the_second",
    ],
    "api-version copied, its keys dropped": [
        "test_project_status_is_told",
        "test_an_awkward_page_passes_through",
    ],
    "random order of versions": ["test_versions_are_in_order"],
    "local files without hashes": ["test_a_wheel"],
    "yank reasons unescaped or escaped twice": ["test_yank_reasons_with_markup"],
    "naive local time": ["test_a_wheel"],
    "credentials in Location, logs, or sent anywhere": [
        "test_private_files_are_streamed_anyway",
        "test_credentials_stay_at_their_origin",
        "test_netrc_is_for_the_named_host_only",
        "test_credentials_show_nowhere",
    ],
    "an error page stored and served as a wheel": [
        "test_file_that_fails_its_check_is_never_completed",
        "test_no_client_completes_a_wrong_file",
    ],
    "HEAD downloading the body": ["test_head_costs_no_download"],
    "Set-Cookie and hop-by-hop headers passed through": ["test_upstream_headers_are_not_passed_on"],
    "whole wheels downloaded for their metadata, each time": [
        "test_a_large_remote_wheel_costs_little",
    ],
    "two indexes in one application sharing files": ["test_two_indexes_do_not_share_files"],
    "advertised metadata that is not there, or with another digest": [
        "announced_metadata_answers",
        "test_unreadable_metadata_is_announced_no_longer",
    ],
    "upload time replaced": ["test_an_awkward_page_passes_through"],
    "Content-Encoding on files and metadata": [
        "test_an_sdist_is_not_taken_for_coded",
        "test_metadata",
    ],
}


@pytest.fixture(scope="module")
def functions() -> set[str]:
    """The names of all test functions and conformance checks."""
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("src/**/testing/*.py")]
    return set(re.findall(r"def (\w+)\(", "\n".join(path.read_text() for path in files)))


@pytest.mark.parametrize("mistake", SEEN_ELSEWHERE)
def test_each_mistake_of_others_has_a_test(mistake: str, functions: set[str]) -> None:
    """The tests that guard against it exist."""
    assert set(SEEN_ELSEWHERE[mistake]) <= functions


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_files_stay_small(path: Path) -> None:
    """No file over 350 lines, no function over 45 lines; docstrings do not count."""
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            documented = ast.get_docstring(node)
            lines = node.end_lineno - node.lineno - len((documented or "").splitlines())
            assert lines <= 45, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_only_the_loader_reads_the_environment(path: Path) -> None:
    """The environment comes in through config/load.py alone."""
    if path.name != "load.py":
        assert "os.environ" not in path.read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_imports_from_the_root(path: Path) -> None:
    """Modules import from where a thing lives, so that there are no cycles through the front."""
    assert not re.search(
        r"^\s*from simple_repository_server import", path.read_text(), re.MULTILINE
    )


def test_the_front_holds() -> None:
    """Every public name is there, and is what its module calls by that name."""
    for name in simple_repository_server.__all__:
        assert getattr(simple_repository_server, name) is not None
    with pytest.raises(AttributeError):
        _ = simple_repository_server.nonsense


def _option_names() -> list[str]:
    return [
        name
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
        if name.startswith("--")
    ]


@pytest.mark.parametrize("option", _option_names())
def test_every_option_is_in_the_docs(option: str) -> None:
    """The reference of the command names each option."""
    assert f"`{option}" in (ROOT / "docs" / "command.md").read_text()


@pytest.mark.parametrize("name", simple_repository_server.__all__)
def test_every_public_name_is_in_the_docs(name: str) -> None:
    """The reference of the library names each public name."""
    if name != "__version__":
        assert f"`{name}" in (ROOT / "docs" / "library.md").read_text()


def test_traces_name_no_machine() -> None:
    """The recorded requests of clients hold no address, no path and no header but these."""
    for trace in read_traces():
        assert trace.requests
        for request in trace.requests:
            assert request.project in PROJECTS
            assert set(request.headers) <= {
                "accept", "accept-encoding", "cache-control", "range", "user-agent",
            }  # fmt: skip
            assert re.fullmatch(r"(uv|pip)/[0-9.]+", request.headers["user-agent"])


def test_no_registry_is_named() -> None:
    """No file holds the address of a package registry; code asks a library for it at run time."""
    from distlib.index import DEFAULT_INDEX

    host = DEFAULT_INDEX.split("/")[2]
    for path in ROOT.rglob("*"):
        if path.suffix in {".py", ".md", ".toml", ".yml", ".txt"} and not _FOREIGN & set(
            path.parts
        ):
            assert host not in path.read_text(), path
