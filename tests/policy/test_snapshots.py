"""Past states of an index: what was uploaded later is hidden from list, page, file and metadata."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from simple_repository_server import MemoryRepository, ProjectName
from simple_repository_server.errors import HiddenByRule
from simple_repository_server.names import FileName
from simple_repository_server.policy.snapshots import Snapshots
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.web.index import IndexApp
from simple_repository_server.web.moments import parse_moment
from tests.asgi import JSON, ask, running

pytestmark = pytest.mark.anyio

OLD, NEW, UNDATED = (build_wheel("foo", version) for version in ("1.0", "2.0", "3.0"))
UPLOADED = {
    OLD.filename: datetime(2026, 7, 1, tzinfo=UTC),
    NEW.filename: datetime(2026, 8, 1, 12, tzinfo=UTC),
}
NOW = datetime(2026, 9, 1, tzinfo=UTC).timestamp()


def _index() -> MemoryRepository:
    made = MemoryRepository()
    for wheel in (OLD, NEW, UNDATED):
        made.add(wheel.filename, wheel.content, metadata=wheel.metadata)
    page = made._pages[ProjectName("foo")]
    files = tuple(
        msgspec.structs.replace(file, upload_time=UPLOADED.get(file.filename))
        for file in page.files
    )
    made._pages[ProjectName("foo")] = msgspec.structs.replace(page, files=files)
    return made


def _app() -> IndexApp:
    index = _index()
    past = Snapshots(index)
    return IndexApp(index, indexes={"main": index}, snapshots={"": past, "main": past})


@pytest.mark.parametrize("root", ["", "/main"])
@pytest.mark.parametrize(
    ("date", "shown"),
    [
        ("2026-06-01", []),
        ("2026-07-02", [OLD]),
        ("2026-08-01", [OLD]),
        ("2026-08-01T12:00:00Z", [OLD]),
        ("2026-08-01T12:00:01Z", [OLD, NEW]),
        ("2026-08-01T14:00:01+02:00", [OLD, NEW]),
    ],
)
async def test_page_file_and_metadata_are_those_of_the_date(
    root: str, date: str, shown: list[object]
) -> None:
    """What was uploaded before the date is shown and served; anything else is neither."""
    async with running(_app()) as app:
        below = f"{root}/snapshot/{date}"
        page = await ask(app, f"{below}/simple/foo/", headers={"accept": JSON})
        assert [one["filename"] for one in page.json()["files"]] == [w.filename for w in shown]  # type: ignore[attr-defined]
        for wheel in (OLD, NEW, UNDATED):
            file = await ask(app, f"{below}/resources/foo/{wheel.filename}")
            metadata = await ask(app, f"{below}/resources/foo/{wheel.filename}.metadata")
            if wheel in shown:
                assert (file.body, metadata.body) == (wheel.content, wheel.metadata)
            else:
                assert file.status >= 400
                assert metadata.status >= 400


@pytest.mark.parametrize(
    ("date", "says"),
    [
        ("yesterday", "not a date"),
        ("2026-13-01", "not a date"),
        ("2026-08-01T25:00", "not a date"),
        ("20260801", "not a date"),
        ("", "not a date"),
        ("٢٠٢٦-٠٨-٠١", "not a date"),
        ("0001-01-01T00:00+14:00", "not a date"),
        ("9999-01-01", "in the future"),
    ],
)
async def test_other_dates_are_not_found_with_a_sentence(date: str, says: str) -> None:
    """What is no date, or a date to come, is 404 and says so."""
    async with running(_app()) as app:
        answer = await ask(app, f"/snapshot/{date}/simple/foo/")
        assert answer.status == 404
        assert says in answer.text


async def test_index_without_snapshots_says_how_to_switch_them_on() -> None:
    """Where they are off, the answer names the setting."""
    async with running(IndexApp(_index())) as app:
        answer = await ask(app, "/snapshot/2026-08-01/simple/")
        assert answer.status == 404
        assert "snapshots = true" in answer.text


async def test_dates_are_one_moment_in_any_spelling() -> None:
    """A date is 00:00 UTC of that day, and a time without a zone is in UTC."""
    spellings = ("2026-08-01", "2026-08-01T00:00", "2026-08-01T02:00:00+02:00",
                 "2026-08-01t00:00:00z")  # fmt: skip
    assert {parse_moment(one, NOW) for one in spellings} == {datetime(2026, 8, 1, tzinfo=UTC)}


def test_number_of_snapshots_in_memory_is_bounded() -> None:
    """The ones that were used last are the same objects again; the others are made anew."""
    past = Snapshots(_index(), size=2)
    first, second, third = (datetime(2026, 8, 1, tzinfo=UTC) + timedelta(days=n) for n in range(3))
    one, two = past.at(first), past.at(second)
    assert past.at(first) is one
    past.at(third)
    assert past.at(first) is one
    assert past.at(second) is not two


async def test_answer_is_as_fresh_as_the_page_below() -> None:
    """A snapshot's page can still change (a file is removed), so it states the same freshness."""
    async with running(_app()) as app:
        now = await ask(app, "/simple/foo/")
        then = await ask(app, "/snapshot/2026-08-01/simple/foo/")
        assert then.headers["cache-control"] == now.headers["cache-control"]
        assert then.headers["etag"] != now.headers["etag"]


async def test_hidden_file_names_the_rule() -> None:
    """From the library, too, a file of later is hidden, not absent."""
    repository = Snapshots(_index()).at(datetime(2026, 8, 1, tzinfo=UTC))
    with pytest.raises(HiddenByRule, match="snapshot of 2026-08-01"):
        await repository.get_resource(ProjectName("foo"), FileName(NEW.filename))
