"""Renamed projects: under the new name everywhere, and under the old one nowhere."""

import msgspec
import pytest

from simple_repository_server import FileName, MemoryRepository, ProjectName, create_app
from simple_repository_server.errors import (
    HiddenByRule,
    InvalidName,
    ProjectNotFound,
    ResourceNotFound,
)
from simple_repository_server.explanation import Answered
from simple_repository_server.policy.deny import DenyRule
from simple_repository_server.policy.repository import RuleRepository
from simple_repository_server.testing.conformance import assert_hidden
from simple_repository_server.testing.distributions import build_sdist, build_wheel
from simple_repository_server.transforms.renamed import RenamedProjectsRepository
from tests.asgi import JSON, ask, running

pytestmark = pytest.mark.anyio
WHEEL = build_wheel("pillow-simd", "1.0")
NAME = FileName(WHEEL.filename)
NEW, OLD = ProjectName("pillow-simd"), ProjectName("folder-7")


def _source() -> MemoryRepository:
    """A source that has the files of pillow-simd under the name folder-7, and other projects."""
    inner = MemoryRepository()
    inner.add(WHEEL.filename, WHEEL.content, metadata=WHEEL.metadata)
    page = inner.peek_project_page(NEW)
    assert page is not None
    pages = {OLD: msgspec.structs.replace(page, name=OLD)}
    contents = {NAME: WHEEL.content, f"{NAME}.metadata": WHEEL.metadata}
    source = MemoryRepository(pages, contents)
    other = build_sdist("other", "2.0")
    source.add(other.filename, other.content)
    return source


async def test_project_is_shown_under_its_new_name() -> None:
    """List, page, files and metadata have the new name; names and bytes of files are unchanged."""
    async with RenamedProjectsRepository(
        _source(), names={"Pillow_SIMD": "folder-7"}
    ) as repository:
        assert (await repository.get_project_list()).names == ("other", "pillow-simd")
        page = await repository.get_project_page(NEW)
        assert (page.name, page.files[0].filename) == (NEW, NAME)
        assert await repository.get_project_page(NEW) is page
        assert repository.peek_project_page(NEW) is page
        async with running(create_app(repository)) as app:
            shown = (await ask(app, "/simple/pillow-simd/", headers={"Accept": JSON})).json()
            assert shown["name"] == "pillow-simd"
            assert (await ask(app, f"/resources/pillow-simd/{NAME}")).body == WHEEL.content
            metadata = await ask(app, f"/resources/pillow-simd/{NAME}.metadata")
            assert metadata.body == WHEEL.metadata


async def test_project_is_hidden_under_its_old_name() -> None:
    """Unless the old name is mapped, too, nothing exists under it."""
    async with RenamedProjectsRepository(
        _source(), names={"pillow-simd": "folder-7"}
    ) as repository:
        await assert_hidden(repository, OLD, [NAME])
    both = {"pillow-simd": "folder-7", "folder-7": "folder-7"}
    async with RenamedProjectsRepository(_source(), names=both) as repository:
        assert (await repository.get_project_page(OLD)).files
        assert (await repository.get_project_page(NEW)).files
        assert (await repository.get_project_list()).names == ("folder-7", "other", "pillow-simd")


async def test_taken_name_hides_the_project_that_had_it() -> None:
    """The mapping wins over a project of the source with that name, also where it leads nowhere."""
    async with RenamedProjectsRepository(_source(), names={"other": "absent"}) as repository:
        await assert_hidden(repository, ProjectName("other"), [FileName("other-2.0.tar.gz")])


async def test_errors_name_the_requested_project() -> None:
    """What is not found is reported under the new name, by coroutine and by peek."""
    names = {"shown": "absent", "pillow-simd": "folder-7"}
    repository = RenamedProjectsRepository(_source(), names=names)
    shown, absent = ProjectName("shown"), FileName("absent-1.0.tar.gz")
    with pytest.raises(ProjectNotFound, match="'shown'"):
        await repository.get_project_page(shown)
    with pytest.raises(ProjectNotFound, match="'shown'"):
        repository.peek_project_page(shown)
    for work in (repository.get_resource(NEW, absent),):
        with pytest.raises(ResourceNotFound, match="'pillow-simd'"):
            await work
    with pytest.raises(ResourceNotFound, match="'pillow-simd'"):
        repository.peek_resource(NEW, absent)


async def test_large_list_is_renamed() -> None:
    """A list of many names is as complete as a small one."""
    source = _source()
    for number in range(5_100):
        source.add(f"p{number}-1.0.tar.gz", b"")
    async with RenamedProjectsRepository(source, names={"pillow-simd": "folder-7"}) as repository:
        names = (await repository.get_project_list()).names
        assert len(names) == 5_102
        assert "pillow-simd" in names
        assert "folder-7" not in names


def test_invalid_names_are_rejected() -> None:
    """What is not the name of a project cannot be mapped."""
    with pytest.raises(InvalidName):
        RenamedProjectsRepository(MemoryRepository(), names={"no name": "demo"})


async def test_explanation_names_both_names() -> None:
    """It is asked for the new name, and states the one that the source uses."""
    async with RenamedProjectsRepository(
        _source(), names={"pillow-simd": "folder-7"}
    ) as repository:
        explained = await repository.explain(NEW)
        assert (explained.answered, explained.files) == (Answered.HAS, 1)
        assert "'folder-7'" in explained.detail
        assert (await repository.explain(OLD)).answered is Answered.ABSENT
        assert (await repository.explain(ProjectName("other"))).answered is Answered.HAS


async def test_what_rules_hide_is_reported_under_the_new_name() -> None:
    """Else the answer for a concealed project would tell its name in the source."""
    ruled = RuleRepository(_source(), [DenyRule(["folder-*"], conceal=True)])
    async with RenamedProjectsRepository(ruled, names={NEW: OLD}) as repository:
        with pytest.raises(HiddenByRule) as caught:
            await repository.get_project_page(NEW)
        assert (caught.value.project, caught.value.concealed) == (NEW, True)
        with pytest.raises(HiddenByRule) as caught:
            repository.peek_resource(NEW, NAME)
        assert caught.value.project == NEW
    async with running(create_app(repository)) as app:
        answer = await ask(app, f"/simple/{NEW}/")
    assert answer.status == 404
    assert str(OLD).encode() not in answer.body
