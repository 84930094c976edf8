"""Events go to Python's `logging` where an application wants them there."""

import logging
from pathlib import Path

import pytest

from simple_repository_server import LocalRepository, ProjectName, create_app, log_to
from simple_repository_server.observe.events import FileSkipped, RequestFinished, SourceFailed
from simple_repository_server.testing import build_wheel
from tests.asgi import ask, running

pytestmark = pytest.mark.anyio


def test_each_event_is_a_record(caplog: pytest.LogCaptureFixture) -> None:
    """The record has the event's level and line, and the event itself."""
    event = SourceFailed(source="https://index.example/100%s/", reason="no connection")
    with caplog.at_level(logging.INFO, "index"):
        log_to(logging.getLogger("index"))(event)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == event.text()
    assert vars(record)["event"] is event


async def test_components_tell_a_logger(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A source and the application write to the logger they were made with, at its level."""
    wheel = build_wheel("demo")
    (tmp_path / wheel.filename).write_bytes(wheel.content)
    (tmp_path / "demo-1.0-nonsense.whl").write_bytes(b"")
    emit = log_to(logging.getLogger("index"))
    for level, kinds in (
        (logging.INFO, {FileSkipped, RequestFinished}),
        (logging.WARNING, {FileSkipped}),
    ):
        caplog.clear()
        with caplog.at_level(level, "index"):
            app = create_app(LocalRepository(tmp_path, emit=emit), emit=emit)
            async with running(app) as served:
                page = await ask(served, f"/simple/{ProjectName('demo')}/")
                assert page.status == 200
        found = {type(vars(r)["event"]) for r in caplog.records if r.name == "index"}
        assert kinds <= found
        assert all(record.levelno >= level for record in caplog.records if record.name == "index")
