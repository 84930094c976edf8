"""Uvicorn does what the protocol was built on: a newer one that does not fails here."""

import asyncio
import logging
from typing import Any

import pytest
import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tests.web.uvicorn_parts import changed

pytestmark = pytest.mark.anyio


class Transport(asyncio.Transport):
    """Writes down what is done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.closing = False

    @override
    def write(self, data: Any) -> None:
        self.calls.append(bytes(data))

    @override
    def close(self) -> None:
        self.closing = True
        self.calls.append("close")

    @override
    def is_closing(self) -> bool:
        return self.closing

    @override
    def pause_reading(self) -> None:
        self.calls.append("pause")

    @override
    def resume_reading(self) -> None:
        self.calls.append("resume")


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answers nothing."""


def _config(**options: Any) -> uvicorn.Config:
    config = uvicorn.Config(_app, ws="none", interface="asgi3", log_config=None, **options)
    config.load()
    return config


def _cycle(transport: Transport, *, done: list[str], keep_alive: bool = True) -> Any:
    return RequestResponseCycle(
        scope={"type": "http", "method": "GET", "http_version": "1.1"},  # type: ignore[typeddict-item]  # what it reads
        transport=transport,
        flow=FlowControl(transport),
        logger=logging.getLogger("test"),
        access_logger=logging.getLogger("test"),
        access_log=False,
        default_headers=[(b"date", b"now")],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: done.append("done"),
    )


def _start(length: int) -> Any:
    headers = [(b"content-length", b"%d" % length)]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def test_a_head_is_written_at_once() -> None:
    """A file sent past the transport comes behind its head: that was written when it started."""
    transport = Transport()
    cycle = _cycle(transport, done=[])
    await cycle.send(_start(3))
    head = b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 3\r\n\r\n"
    what = "RequestResponseCycle.send does not write the head at once, defaults first"
    assert transport.calls == [head], changed(what, RequestResponseCycle, "send")
    assert cycle.response_started
    what = "expected_content_length is not what is still to be sent"
    text = changed(what, RequestResponseCycle, "expected_content_length")
    assert cycle.expected_content_length == 3, text
    await cycle.send({"type": "http.response.body", "body": b"a", "more_body": True})
    assert cycle.expected_content_length == 2, text


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_a_cycle_ends_with_its_last_byte(*, keep_alive: bool) -> None:
    """An answer is complete, and said to be so once, with the body that has no more behind it."""
    transport, done = Transport(), list[str]()
    cycle = _cycle(transport, done=done, keep_alive=keep_alive)
    await cycle.send(_start(0))
    assert not cycle.response_complete
    assert not done
    await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})
    what = "RequestResponseCycle.send does not end the answer as it did"
    text = changed(what, RequestResponseCycle, "send", "on_response", "response_complete")
    assert (cycle.response_complete, done) == (True, ["done"]), text
    assert ("close" in transport.calls) is not keep_alive, text
    received = await cycle.receive()
    assert received == {"type": "http.disconnect"}, text


async def test_a_disconnected_cycle_says_and_sends_nothing() -> None:
    """Who answers a client that went away is told so when receiving, and not when sending."""
    transport = Transport()
    cycle = _cycle(transport, done=[])
    cycle.disconnected = True
    await cycle.send(_start(0))
    what = "a cycle with `disconnected` set is not silent"
    text = changed(what, RequestResponseCycle, "disconnected", "send")
    assert not transport.calls, text
    assert await cycle.receive() == {"type": "http.disconnect"}, text


async def test_an_answer_waits_for_room() -> None:
    """While a client does not take what it is sent, `send` waits, until it does or is gone."""
    cycle = _cycle(Transport(), done=[])
    cycle.flow.pause_writing()
    sending = asyncio.create_task(cycle.send(_start(0)))
    await asyncio.sleep(0.01)
    text = changed("`send` does not wait for `FlowControl.drain`", FlowControl, "drain")
    assert not sending.done(), text
    cycle.flow.resume_writing()
    await asyncio.wait_for(sending, 5)
    assert cycle.response_started, text


async def test_reading_is_paused_once() -> None:
    """Pausing and resuming what comes in is idempotent, as it is done by several."""
    transport = Transport()
    flow = FlowControl(transport)
    for method in (
        flow.pause_reading,
        flow.pause_reading,
        flow.resume_reading,
        flow.resume_reading,
    ):
        method()
    text = changed("FlowControl pauses or resumes twice", FlowControl, "pause_reading")
    assert transport.calls == ["pause", "resume"], text


async def test_bytes_reach_the_callbacks() -> None:
    """What comes in goes through `data_received` to the parser, and so to its callbacks."""
    seen: list[str] = []

    class Spy(HttpToolsProtocol):
        @override
        def on_message_begin(self) -> None:
            seen.append("begin")
            super().on_message_begin()

        @override
        def on_url(self, url: bytes) -> None:
            super().on_url(url)
            seen.append(f"url {self.url.decode()}")

        @override
        def on_headers_complete(self) -> None:
            seen.append(f"headers {self.headers}")
            super().on_headers_complete()

        @override
        def on_body(self, body: bytes) -> None:
            super().on_body(body)
            seen.append(f"body {bytes(self.cycle.body).decode()}")

        @override
        def on_message_complete(self) -> None:
            super().on_message_complete()
            seen.append(f"complete {self.cycle.more_body}")

    state = ServerState()
    protocol = Spy(_config(), state, {})
    protocol.connection_made(Transport())
    assert state.connections == {protocol}
    protocol.data_received(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
    text = changed("the parser's callbacks are others", HttpToolsProtocol, "data_received")
    headers = [(b"host", b"x"), (b"content-length", b"2")]
    expected = ["begin", "url /a", f"headers {headers}", "body ab", "complete False"]
    assert seen == expected, text
    text = changed("requests are not tasks of ServerState.tasks", ServerState, "tasks")
    (task,) = state.tasks
    await task
    await asyncio.sleep(0)
    assert not state.tasks, text
    protocol.connection_lost(None)
    text = changed("a lost connection stays in ServerState", ServerState, "connections")
    assert not state.connections, text


async def test_a_tick_makes_the_headers_anew() -> None:
    """Heads are cached by the identity of the list of default headers: each second a new one."""
    server = uvicorn.Server(_config(headers=[("server", "x")], server_header=False))
    lists = []
    for _ in range(2):
        await server.on_tick(0)
        lists.append(server.server_state.default_headers)
    what = "Server.on_tick(0) does not make a new list of default headers, with the date first"
    text = changed(what, uvicorn.Server, "on_tick")
    assert lists[0] is not lists[1], text
    assert [name for name, _ in lists[0]] == [b"date", b"server"], text


async def test_a_server_runs_through_its_stages() -> None:
    """`_serve` starts, loops until it should exit, and shuts down if it has started."""
    stages: list[str] = []

    class Staged(uvicorn.Server):
        @override
        async def startup(self, sockets: Any = None) -> None:
            stages.append("startup")
            self.started = self.config.loaded

        @override
        async def main_loop(self) -> None:
            stages.append("main_loop")

        @override
        async def shutdown(self, sockets: Any = None) -> None:
            stages.append("shutdown")

    await Staged(_config())._serve([])
    text = changed("Server._serve has other stages", uvicorn.Server, "_serve", "startup")
    assert stages == ["startup", "main_loop", "shutdown"], text
    server = Staged(_config())
    server.should_exit = True
    await server._serve([])
    assert stages[3:] == ["startup", "shutdown"], text


async def test_a_configuration_takes_a_protocol_as_it_is() -> None:
    """The protocol is made by what was given as `http`, of the application as it was given."""

    def make(**_: Any) -> asyncio.Protocol:
        return asyncio.Protocol()

    config = _config(http=make, proxy_headers=False)
    text = changed("Config.load wraps what it is given", uvicorn.Config, "http_protocol_class")
    assert (config.http_protocol_class, config.loaded_app) == (make, _app), text
