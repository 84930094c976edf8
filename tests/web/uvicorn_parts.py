"""What of Uvicorn, beyond its documented interface, our protocol and our `Server` build on.

The table is complete (`test_uvicorn.py` compares it with what the code uses) and is what a newer
Uvicorn is held against before the range in `pyproject.toml` is widened.
"""

import ast
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import msgspec
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

import simple_repository_server

#: Methods that are called or overridden, with their parameters.
METHODS: dict[type, dict[str, str]] = {
    HttpToolsProtocol: {
        "__init__": "config, server_state, app_state, _loop=None",
        "connection_made": "transport",
        "connection_lost": "exc",
        "eof_received": "",
        "data_received": "data",
        "pause_writing": "",
        "resume_writing": "",
        "shutdown": "",
        "on_message_begin": "",
        "on_url": "url",
        "on_header": "name, value",
        "on_headers_complete": "",
        "on_body": "body",
        "on_message_complete": "",
        "on_response_complete": "",
        "_start_asgi_task": "cycle, app",
    },
    RequestResponseCycle: {
        "__init__": "scope, transport, flow, logger, access_logger, access_log, default_headers, "
        "message_event, expect_100_continue, keep_alive, on_response",
        "run_asgi": "app",
        "receive": "",
        "send": "message",
        "send_500_response": "",
    },
    FlowControl: {"drain": "", "pause_reading": "", "resume_reading": ""},
    uvicorn.Server: {
        "__init__": "config",
        "serve": "sockets=None",
        "_serve": "sockets=None",
        "startup": "sockets=None",
        "main_loop": "",
        "on_tick": "counter",
        "shutdown": "sockets=None",
    },
}

#: Attributes that are read or set.
ATTRIBUTES: dict[type, set[str]] = {
    HttpToolsProtocol: {
        "access_logger", "app", "app_state", "asgi_version", "client", "connections", "cycle",
        "flow",
        "headers",
        "logger", "parser", "pipeline", "root_path", "scheme", "server_state",
        "transport", "url",
    },
    RequestResponseCycle: {
        "disconnected", "expected_content_length", "flow", "keep_alive", "logger", "message_event",
        "chunked_encoding", "default_headers", "more_body",
        "on_response", "response_complete", "response_started", "scope", "transport",
    },
    FlowControl: {"write_paused"},
    ServerState: {"connections", "default_headers", "tasks", "total_requests"},
    uvicorn.Server: {
        "config", "force_exit", "lifespan", "server_state", "should_exit", "started",
    },
    uvicorn.Config: {"http_protocol_class", "loaded_app"},
}  # fmt: skip

#: Called by the parser, under this name, and not by us.
BY_THE_PARSER = {(HttpToolsProtocol, "on_url")}

#: What objects of Uvicorn are called where they are used.
_RECEIVERS = {
    "cycle": RequestResponseCycle,
    "_running": RequestResponseCycle,
    "flow": FlowControl,
    "server_state": ServerState,
    "state": ServerState,
    "config": uvicorn.Config,
}
_SOURCES = Path(simple_repository_server.__file__).parent
#: Where Uvicorn may be used.
FOLDERS = (_SOURCES / "web" / "server", _SOURCES / "cli")


class Use(msgspec.Struct, frozen=True):
    """A name of a class of Uvicorn's, and the place where it is used."""

    owner: type
    name: str
    place: str


def names_of(owner: type) -> set[str]:
    """The names of a class: what is defined in it, and what its methods set on `self`."""
    names = {name for kind in owner.__mro__ if kind is not object for name in vars(kind)}
    for node in ast.walk(ast.parse(inspect.getsource(owner))):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return {name for name in names if name == "__init__" or not name.startswith("__")}


@cache
def uses() -> frozenset[Use]:
    """What the code uses, or defines under a name that is Uvicorn's too."""
    return frozenset(use for path in source_files(*FOLDERS) for use in _uses_in(path))


def places(owner: type, *names: str) -> str:
    """Where these names are used."""
    return ", ".join(sorted({u.place for u in uses() if u.owner is owner and u.name in names}))


def changed(what: str, owner: type, *names: str) -> str:
    """What a failure says: what of Uvicorn is not as it was, and where that matters."""
    return f"Uvicorn {uvicorn.__version__}: {what}. See {places(owner, *names)}."


def source_files(*folders: Path) -> Iterator[Path]:
    """All modules below the folders; of the whole package if there are none given."""
    for folder in folders or (_SOURCES,):
        yield from sorted(folder.rglob("*.py"))


def _uses_in(path: Path) -> Iterator[Use]:
    tree = ast.parse(path.read_text())
    place = str(path.relative_to(_SOURCES.parent))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _name(node.value) in _RECEIVERS:
            yield Use(_RECEIVERS[_name(node.value)], node.attr, place)
    module = importlib.import_module(
        ".".join(path.relative_to(_SOURCES.parent).with_suffix("").parts)
    )
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _uses_by(node, module, place)


def _uses_by(node: ast.ClassDef, module: ModuleType, place: str) -> Iterator[Use]:
    """What a class that is made of one of Uvicorn's uses and overrides of it."""
    bases = getattr(module, node.name).__mro__
    owner = next((kind for kind in bases if kind.__module__.startswith("uvicorn")), None)
    if owner is None:
        return
    known = names_of(owner) | METHODS.get(owner, {}).keys() | ATTRIBUTES.get(owner, set())
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and _name(inner.value) in {"self", "super()"}:
            name = inner.attr
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            name = inner.name
        else:
            continue
        if name in known:
            yield Use(owner, name, place)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Call) and _name(node.func) == "super":
        return "super()"
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
