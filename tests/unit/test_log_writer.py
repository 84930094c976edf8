"""Lines of the log when nobody reads them, and of what was no request."""

import json
import os

from simple_repository_server.observe.events import RequestFinished, SourceRecovered
from simple_repository_server.observe.logs import LogWriter


def test_lines_that_were_dropped_are_counted_in_a_line_like_any_other() -> None:
    """A machine that reads JSON can read that, too, and nothing is lost without a word."""
    readable, writable = os.pipe()
    events = 120_000
    with os.fdopen(readable) as reader, os.fdopen(writable, "w") as stream:
        write = LogWriter(stream, form="json")
        for number in range(events):
            write(SourceRecovered(source=f"{number}"))
        written = 0
        for text in reader:
            line = json.loads(text)
            if line["event"] == "log_lines_dropped":
                assert line["level"] == "warning"
                break
            written += 1
        write.close()
    assert written + line["count"] == events


def test_what_was_no_request_has_a_dash_in_its_line() -> None:
    """Neither method nor path is known of bytes that are no HTTP: the columns stay."""
    event = RequestFinished(
        method="", path="", status=400, bytes=48, duration_ms=0.1, client="::1", user_agent=""
    )
    assert event.text().startswith("400 - - 48 B in ")
