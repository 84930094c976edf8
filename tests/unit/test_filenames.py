"""File names: what they say of project and version."""

import pytest

from simple_repository_server.distributions.filenames import (
    parse_distribution,
    sorted_versions,
    version_of,
    versions_of,
)
from simple_repository_server.names import ProjectName


@pytest.mark.parametrize(
    ("filename", "project", "version"),
    [
        ("foo-1.0-py3-none-any.whl", "foo", "1.0"),
        ("Foo_Bar.baz-1.0-py3-none-any.whl", "foo-bar-baz", "1.0"),
        ("foo-1.0-1-py3-none-any.whl", "foo", "1.0"),
        ("torch-2.0.1+cu118-cp311-cp311-linux_x86_64.whl", "torch", "2.0.1+cu118"),
        ("foo-1.0-cp311-cp311-linux_x86_64-x86_64_v3.whl", "foo", "1.0"),
        ("foo-1.0-2-cp311-cp311-linux_x86_64-variant.whl", "foo", "1.0"),
        ("foo-1.0.tar.gz", "foo", "1.0"),
        ("foo-bar-1.0.zip", "foo-bar", "1.0"),
        ("foo-2-1.tar.gz", "foo-2", "1"),
        ("foo-1.0-py3.11.egg", "foo", "1.0"),
        ("foo-1.0-py3.11-linux-x86_64.egg", "foo", "1.0"),
        ("foo-1.0_rc1-py3-none-any.whl", "foo", "1.0_rc1"),
    ],
)
def test_distributions(filename: str, project: str, version: str) -> None:
    """Wheels, sdists and eggs of all ages tell their project and version."""
    found = parse_distribution(filename)
    assert found is not None
    assert (found.project, found.version) == (project, version)
    assert version_of(filename, found.project) == version


@pytest.mark.parametrize(
    "filename",
    [
        "foo.whl", "foo-1.0.whl", "foo-1.0-py3-none-any-a-b-c.whl", "foo-notaversion.tar.gz",
        "foo.tar.gz", "-1.0.tar.gz", "README.md", "foo-1.0.tar.gz.asc", "foo-1.0.exe", ".egg", "",
    ],
)  # fmt: skip
def test_strangers(filename: str) -> None:
    """What is no wheel, sdist or egg is none."""
    assert parse_distribution(filename) is None


def test_the_folder_decides_an_unclear_name() -> None:
    """`foo-2-1.tar.gz` in a folder named foo is version 2-1 of foo."""
    found = parse_distribution("foo-2-1.tar.gz", folder="Foo")
    assert found is not None
    assert (found.project, found.version) == ("foo", "2-1")


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("Foo.Bar-1.0.win32-py2.7.exe", "1.0"),
        ("foo-bar-1.0.linux-x86_64.tar.gz", "1.0.linux-x86_64"),
        ("foo-bar-1.0-1.noarch.rpm", "1.0"),
        ("foo-bar-1.0-variants.json", "1.0"),
        ("other-1.0.tar.gz", None),
        ("foo-bar.tar.gz", None),
    ],
)
def test_versions_of_files_on_a_page(filename: str, version: str | None) -> None:
    """On its page a file's version is what follows the project's name, however that is spelt."""
    assert version_of(filename, ProjectName("foo-bar")) == version


def test_versions_are_unique_and_in_order() -> None:
    """Versions come oldest first, each once; what is no version comes before."""
    names = ["foo-1.10.tar.gz", "foo-1.9.tar.gz", "foo-1.9-py3-none-any.whl", "foo-2.0rc1.zip"]
    assert versions_of(names, ProjectName("foo")) == ("1.9", "1.10", "2.0rc1")
    assert sorted_versions(["2", "odd", "1", "2"]) == ("odd", "1", "2")
