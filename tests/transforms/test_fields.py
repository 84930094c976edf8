"""Pages with fewer fields, or with private keys: what installers need stays."""

from datetime import UTC, datetime

import msgspec
import pytest

from simple_repository_server import FileName, MemoryRepository, ProjectName, ProjectPage
from simple_repository_server.model import File, ProjectStatus, Status
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.transforms.fields import (
    PageField,
    PrivateMetadataRepository,
    StrippedFieldsRepository,
)

pytestmark = pytest.mark.anyio
DEMO = ProjectName("demo")
WHEEL = build_wheel("demo", "1.0")
FULL = File(
    filename=FileName(WHEEL.filename),
    url="memory:",
    hashes={"sha256": WHEEL.sha256},
    size=len(WHEEL.content),
    upload_time=datetime(2026, 1, 1, tzinfo=UTC),
    requires_python=">=3.9",
    core_metadata={"sha256": WHEEL.metadata_sha256},
    yanked="broken",
    provenance="https://index.example/provenance",
    private={"_team": "a"},
)
BARE = msgspec.structs.replace(
    FULL, size=None, upload_time=None, yanked=True, provenance=None, private={}
)
PAGE = ProjectPage(
    name=DEMO,
    files=(FULL,),
    versions=("1.0",),
    status=ProjectStatus(Status.ARCHIVED, "moved"),
    serial=7,
    private={"_last": 1},
)


async def test_all_fields_that_can_be_spared_are_left_out() -> None:
    """Names, digests, metadata, Requires-Python, yanked and status stay."""
    async with StrippedFieldsRepository(MemoryRepository({DEMO: PAGE})) as repository:
        page = await repository.get_project_page(DEMO)
        assert page.files == (BARE,)
        assert (page.versions, page.serial, page.private) == (("1.0",), None, {})
        assert page.status == ProjectStatus(Status.ARCHIVED)
        assert await repository.get_project_page(DEMO) is page
        assert repository.peek_project_page(DEMO) is page


@pytest.mark.parametrize("field", PageField)
async def test_each_field_can_be_left_out_alone(field: PageField) -> None:
    """One field, by its name as a text, changes nothing else."""
    source = MemoryRepository({DEMO: PAGE})
    async with StrippedFieldsRepository(source, fields=[str(field)]) as repository:
        page = await repository.get_project_page(DEMO)
    attribute = {"yank-reason": "yanked"}.get(field, field.replace("-", "_"))
    if field in (PageField.SERIAL, PageField.STATUS_REASON):
        assert page.files == (FULL,)
    else:
        changed = msgspec.structs.replace(FULL, **{attribute: getattr(BARE, attribute)})
        assert page.files == (changed,)
    assert (page.serial is None) is (field is PageField.SERIAL)
    assert (page.private == {}) is (field is PageField.PRIVATE)
    assert page.status is not None
    assert (page.status.reason is None) is (field is PageField.STATUS_REASON)


async def test_page_without_these_fields_is_the_very_page() -> None:
    """What has nothing to leave out is not copied."""
    page = ProjectPage(name=DEMO, files=(BARE,), versions=("1.0",))
    async with StrippedFieldsRepository(MemoryRepository({DEMO: page})) as repository:
        assert await repository.get_project_page(DEMO) is page


async def test_large_page_is_stripped() -> None:
    """A page of many files, which a thread strips, is complete."""
    files = tuple(
        msgspec.structs.replace(FULL, filename=FileName(f"demo-{n}.tar.gz")) for n in range(2_100)
    )
    page = msgspec.structs.replace(PAGE, files=files)
    async with StrippedFieldsRepository(MemoryRepository({DEMO: page})) as repository:
        stripped = await repository.get_project_page(DEMO)
    assert [file.upload_time for file in stripped.files] == [None] * 2_100


def test_field_that_installers_need_cannot_be_left_out() -> None:
    """Digests are no field that can be spared."""
    with pytest.raises(ValueError, match="hashes"):
        StrippedFieldsRepository(MemoryRepository(), fields=["hashes"])


async def test_private_keys_are_added_and_replace_those_of_the_page() -> None:
    """The operator's keys win, and the given mapping may change afterwards."""
    private: dict[str, object] = {"_last": 2, "_source": {"name": "company"}}
    source = MemoryRepository({DEMO: PAGE})
    async with PrivateMetadataRepository(source, private=private) as repository:
        private.clear()
        page = await repository.get_project_page(DEMO)
        assert page.private == {"_last": 2, "_source": {"name": "company"}}
        assert page.files is PAGE.files
        assert repository.peek_project_page(DEMO) is page


def test_private_keys_must_be_private_and_json() -> None:
    """A name without underscore is for standards (PEP 700), and values must be JSON."""
    with pytest.raises(ValueError, match="'team'"):
        PrivateMetadataRepository(MemoryRepository(), private={"team": "a"})
    with pytest.raises(TypeError):
        PrivateMetadataRepository(MemoryRepository(), private={"_team": object()})
