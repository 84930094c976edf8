"""What the command writes to its log: lines for people and for machines, and what never."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from simple_repository_server.observe.events import InternalFailure
from simple_repository_server.observe.logs import formatter
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.version import __version__
from tests.serving import Server, serving

WHEEL = build_wheel("foo", "1.0")
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])
_REQUEST = re.compile(r" [1-5]\d\d (GET|HEAD|POST) |\"event\":\"request\"")


def _get(server: Server, target: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    with closing(connection):
        connection.request(method, target, headers=headers)
        with connection.getresponse() as response:
            return response.status, response.read()


def _packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / WHEEL.filename).write_bytes(WHEEL.content)
    return folder


def _lines(server: Server, count: int) -> list[str]:
    """The lines of requests, once there are so many."""
    deadline = time.monotonic() + 5
    while True:
        lines = [line for line in server.log.splitlines() if _REQUEST.search(line)]
        if len(lines) >= count or time.monotonic() > deadline:
            return lines
        time.sleep(0.02)


def test_requests_are_logged_for_people(tmp_path: Path) -> None:
    """A line per request: status, method, path, size, time, client; no query, no control codes."""
    with serving(tmp_path, _packages(tmp_path)) as server:
        _get(server, "/simple/foo/?token=secret", **{"User-Agent": "pip/26.3 {}"})
        _get(server, "/simple/%1b%5b31mred/")
        first, second = _lines(server, 2)
    assert "200 GET /simple/foo/ " in first
    assert "pip/26.3 at 127.0.0.1" in first
    assert "secret" not in first
    assert "\x1b" not in second


def test_requests_are_logged_for_machines(tmp_path: Path) -> None:
    """With `--log-format json` each line is an object with the facts."""
    with serving(tmp_path, "--log-format", "json", _packages(tmp_path)) as server:
        _get(server, "/simple/foo/")
        _get(server, "/simple/nope/")
        first, second = map(json.loads, _lines(server, 2))
    assert (first["event"], first["status"], first["path"]) == ("request", 200, "/simple/foo/")
    assert first["duration_ms"] > 0
    assert second["status"] == 404


def test_what_rules_hide_is_logged_for_machines(tmp_path: Path) -> None:
    """Events about rules are objects, too, and the page is answered."""
    config = tmp_path / "rules.toml"
    rules = "[[rules]]\ndeny = ['foo']\nprojects = ['foo==1.*']\n"
    config.write_text(f"[sources.own]\npath = '{_packages(tmp_path)}'\n{rules}")
    options = ("--config", config, "--log-format", "json", "--log-level", "debug")
    with serving(tmp_path, *options) as server:
        assert _get(server, "/simple/foo/")[0] == 200
        assert server.logged('"event":"files_hidden"')
        (hidden,) = (event for event in _events(server) if event["event"] == "files_hidden")
    assert (hidden["project"], hidden["files"]) == ("foo", 1)


def test_a_source_that_is_down_is_one_line(tmp_path: Path, upstream: Upstream) -> None:
    """That a source cannot be reached is told once, and not by those who try again."""
    upstream.refuse()
    with serving(tmp_path, "--log-level", "warning", upstream.simple) as server:
        for _ in range(2):
            assert _get(server, "/simple/foo/")[0] == 503
        assert server.stop() == 0
        assert len(server.log.splitlines()) == 1
        assert f"source {upstream.simple} failed" in server.log


def test_the_last_lines_are_not_lost(tmp_path: Path) -> None:
    """What happened just before the end is in the log."""
    with serving(tmp_path, _packages(tmp_path)) as server:
        for _ in range(20):
            _get(server, "/simple/foo/")
        server.stop()
        assert len(_lines(server, 20)) == 20
        assert "stopped with status 0" in server.log.splitlines()[-1]


def _events(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.splitlines()]


@WORKERS
def test_start_ready_and_stop_are_told_once(
    tmp_path: Path, upstream: Upstream, workers: str
) -> None:
    """Each is one line with what is served, where and by whom, however many workers there are."""
    folder = _packages(tmp_path)
    url = upstream.simple.replace("//", "//alice:secretword@")
    options = ("--log-format", "json", "--workers", workers)
    with serving(tmp_path, *options, folder, url) as server:
        pid = server.process.pid
        assert server.stop() == 0
        events = [e for e in _events(server) if e["event"].startswith("server_")]
    assert [e["event"] for e in events] == ["server_starting", "server_ready", "server_stopped"]
    for event in events:
        assert event["level"] == "info"
        assert event["version"] == __version__
        assert (event["pid"], event["workers"]) == (pid, int(workers))
        assert event["address"] == server.simple
        assert event["sources"] == [str(folder), upstream.simple]
    assert events[-1]["status"] == 0
    assert events[-1]["uptime_s"] > 0


@WORKERS
def test_a_start_that_is_ended_is_told(tmp_path: Path, workers: str) -> None:
    """Told to stop before it is ready, it says that it stopped, and never that it was ready."""
    command = [sys.executable, "-m", "simple_repository_server", "--port", "0"]
    options = ["--workers", workers, str(tmp_path)]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert " starting " in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(20) == 0
    assert rest.count("stopped with status 0") == 1


def test_text_lines_have_date_time_and_zone(tmp_path: Path) -> None:
    """A line can be placed in time by whoever reads it, wherever it was written."""
    with serving(tmp_path, _packages(tmp_path), TZ="Asia/Kolkata") as server:
        _get(server, "/simple/foo/")
        (line,) = _lines(server, 1)
    then = datetime.fromisoformat(" ".join(line.split()[:2]))
    assert then.utcoffset() == timedelta(hours=5, minutes=30)
    assert abs(then.timestamp() - time.time()) < 60


def test_json_lines_have_rfc_3339_times(tmp_path: Path) -> None:
    """`time` is UTC with milliseconds, which every log collector reads."""
    options = ("--log-format", "json")
    with serving(tmp_path, *options, _packages(tmp_path), TZ="Asia/Kolkata") as server:
        _get(server, "/simple/foo/")
        (line,) = _lines(server, 1)
    text = json.loads(line)["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert abs(datetime.fromisoformat(text).timestamp() - time.time()) < 60


@pytest.mark.parametrize(("level", "count"), [("info", 0), ("debug", 4)])
def test_health_probes_are_debug(tmp_path: Path, level: str, count: int) -> None:
    """What load balancers ask every few seconds is no line at level info, both ways through."""
    options = ("--log-level", level, "--log-format", "json")
    with serving(tmp_path, *options, _packages(tmp_path)) as server:
        for target in ("/healthz", "/readyz"):
            _get(server, target)
            _get(server, target, "POST")  # goes the ordinary way
        _get(server, "/simple/foo/")
        server.stop()
        lines = [e for e in _events(server) if e["event"] == "request"]
    assert [line["level"] for line in lines] == ["debug"] * count + ["info"]


_FAILURE = InternalFailure(
    what="unexpected \x1b[31m", detail='Traceback\n  File "x"\nKeyError: \x1b]0;\n'
)


@pytest.mark.parametrize("level", ["debug", "error"])
def test_a_traceback_is_one_field_of_a_json_line(level: str) -> None:
    """For machines a failure of ours is one line, with its traceback in one field."""
    line = formatter("json", level)(_FAILURE, 1.5)
    assert line.isprintable()
    found = json.loads(line)
    assert (found["event"], found["level"]) == ("internal_failure", "error")
    assert found["detail"] == _FAILURE.detail
    assert found["time"] == "1970-01-01T00:00:01.500Z"


def test_a_traceback_as_text_is_shown_at_level_debug() -> None:
    """For people it follows in indented lines, which cannot be taken for others or do anything."""
    assert "Traceback" not in formatter("text", "info")(_FAILURE, 1.5)
    first, *more = formatter("text", "debug")(_FAILURE, 1.5).split("\n")
    assert "ERROR: unexpected" in first
    assert all(line.startswith("    ") and line.isprintable() for line in more)
    assert [line.strip()[:9] for line in more] == ["Traceback", 'File "x"', "KeyError:"]


def test_nothing_leads_to_a_traceback(tmp_path: Path, upstream: Upstream) -> None:
    """Broken uploads, odd requests and broken upstreams leave one line each in the log."""
    publish_json(upstream, [WHEEL])
    upstream.on(
        f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}", Reply(body=b"x" * 900_000, length=-1)
    )
    with serving(tmp_path, "--stream-http-resources", upstream.simple) as server:
        for target in (
            "/simple/foo/", "/simple/%ff/", "/simple/a%00b/", "/resources/foo/%2e%2e%2f", "/%",
            "/simple/" + "x" * 3000 + "/", f"/resources/foo/{WHEEL.filename}", "/simple/?format=%",
        ):  # fmt: skip
            status, body = _get(server, target)
            assert status in {200, 301, 302, 404, 406, 502}, (target, status)
            assert body or status == 301
        server.stop()
        assert "Traceback" not in server.log
        assert "unexpected" not in server.log


def test_credentials_show_nowhere(tmp_path: Path, upstream: Upstream) -> None:
    """Not in the banner, the log, an answer or a redirect, whether they work or are refused."""
    publish_json(upstream, [WHEEL])
    url = upstream.simple.replace("//", "//alice:secretword@")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login bob password netrcword\n")
    netrc.chmod(0o600)
    with serving(tmp_path, url, upstream.simple, NETRC=str(netrc)) as server:
        seen = [server.banner]
        for refusing in (False, True):
            if refusing:
                upstream.on("/simple/foo/", Reply(status=401))
                upstream.on("/simple/bar/", Reply(status=403))
            for target in ("/", "/readyz", "/simple/foo/", "/simple/bar/", "/simple/"):
                seen.append(_get(server, target)[1].decode())
            seen.append(_get(server, f"/resources/foo/{WHEEL.filename}")[1].decode("latin-1"))
        server.stop()
        seen.append(server.log)
    for word in ("secretword", "netrcword", "alice", "bob"):
        assert word not in "".join(seen)
    sent = {request.headers.get("authorization") for request in upstream.requests}
    assert len(sent) == 2, "both sources sent their own credentials, and none went without"


def test_a_wrong_file_is_cut_off(tmp_path: Path, upstream: Upstream) -> None:
    """Over a real connection a client of a corrupted file gets an error, not a complete file."""
    wheel = build_wheel("foo", "1.0", files={"data": os.urandom(900_000)})
    publish_json(upstream, [wheel])
    wrong = wheel.content[:-100] + b"x" * 100
    upstream.on(f"/files/{wheel.sha256[:2]}/{wheel.filename}", Reply(body=wrong))
    with serving(tmp_path, "--stream-http-resources", upstream.simple) as server:
        with pytest.raises(http.client.IncompleteRead):
            _get(server, f"/resources/foo/{wheel.filename}")
        line = _lines(server, 1)[-1]
    assert "cut off" in line
    assert "sha256" in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_directory_whose_name_is_no_text_is_served(tmp_path: Path, form: str) -> None:
    """Bytes that are not UTF-8 in its name, and below it, cost neither the log nor a page."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/pack\xffages"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has names of text only")
    (folder / WHEEL.filename).write_bytes(WHEEL.content)
    (folder / os.fsdecode(b"bar-\xff1.0.tar.gz")).write_bytes(b"x")
    cache = folder / "cache"
    with serving(tmp_path, "--log-format", form, "--cache-dir", cache, folder) as server:
        for target in ("/simple/foo/", "/readyz", "/"):
            status, body = _get(server, target)
            assert status == 200
            assert b"foo-1.0" in body if target == "/simple/foo/" else b"udcffages" in body
        assert server.stop() == 0
        assert "file_skipped" in server.log or form == "text"
        assert "unexpected" not in server.log


def test_an_event_with_what_is_no_text_is_a_json_line() -> None:
    """Whatever a field holds, writing the event raises nothing."""
    line = formatter("json", "info")(InternalFailure(what="no \udcff text"), 1.5)
    assert json.loads(line)["what"] == "no ? text"
