"""What a page view computes once for all rules."""

from packaging.version import Version

from simple_repository_server.policy.file_kinds import FileKind

from .views import NOW, NOW_TIME, file, view_of


def test_versions_of_all_formats() -> None:
    """Each file has the version in its name; files with the same one have the same object."""
    view = view_of(
        "foo_bar-1.0-py3-none-any.whl",
        "foo-bar-1.0.tar.gz",
        "Foo.Bar-1.0.post1.zip",
        "foo_bar-1.0-py2.7.egg",
        "foo_bar-1!2.0+cpu.1-py3-none-any.whl",
        "foo-bar-2.0.win-amd64-py2.7.exe",
        "foo-bar-latest.tar.gz",
        "README",
        project="foo-bar",
    )
    shown = [None if version is None else str(version) for version in view.versions]
    assert shown == ["1.0", "1.0", "1.0.post1", "1.0", "1!2.0+cpu.1", "2.0", None, None]
    assert view.versions[0] is view.versions[1]
    assert view.by_version == (
        (Version("1.0"), (0, 1, 3)),
        (Version("1.0.post1"), (2,)),
        (Version("1!2.0+cpu.1"), (4,)),
        (Version("2.0"), (5,)),
        (None, (6, 7)),
    )


def test_times_and_kinds() -> None:
    """By position, None where unknown."""
    view = view_of(file("foo-1.tar.gz", NOW_TIME), "foo-1-py3-none-any.whl", "foo-1.egg", "foo.exe")
    assert view.upload_times == (NOW, None, None, None)
    assert view.kinds == (FileKind.SDIST, FileKind.WHEEL, FileKind.EGG, None)


def test_files_may_be_others_than_those_of_the_page() -> None:
    """Overlays have replaced them."""
    page = view_of("foo-1.tar.gz").page
    replaced = (file("foo-1.tar.gz", yanked=True),)
    view = type(view_of())(page, replaced)
    assert view.files is replaced
    assert view.project == "foo"
