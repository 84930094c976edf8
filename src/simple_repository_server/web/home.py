"""For people and for load balancers: what this index is, and how its sources are doing."""

import re
from html import escape
from typing import Any
from urllib.parse import urlsplit

import msgspec

from simple_repository_server.model import SourceState
from simple_repository_server.repository import Repository
from simple_repository_server.version import __version__
from simple_repository_server.web import usage
from simple_repository_server.web.exchange import Exchange, Request
from simple_repository_server.web.problems import Headers
from simple_repository_server.web.reply import Head, Reply
from simple_repository_server.wire.negotiation import ErrorForm, choose_error_form

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }
pre { padding: .8rem 1rem; border: 1px solid color-mix(in srgb, currentColor 25%, transparent);
      border-radius: .5rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .3rem .8rem .3rem 0; vertical-align: top; }
.down { color: #c22; font-weight: 600; }
footer { margin-top: 3rem; opacity: .7; font-size: .9rem; }
"""
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]{1,100}){1,20}/?")


async def home(exchange: Exchange, repository: Repository) -> None:
    """What this index is and how to use it: HTML for people, JSON on request."""
    states = repository.source_states()
    if choose_error_form(exchange.header(b"accept")) is ErrorForm.JSON:
        facts = {"name": "simple-repository-server", "version": __version__, "index": "simple/"}
        reply = _json(200, {**facts, "sources": _described(states)})
    else:
        body = _page(f"{_base(exchange)}/simple/", states).encode()
        reply = Reply(Head(200, _headers("text/html; charset=utf-8", body)), body)
    await exchange.answer(reply)


def _base(exchange: Exchange) -> str:
    """Where clients find the root, as far as it can be known.

    Behind a proxy that is what the proxy says. The command has removed what nobody believes;
    elsewhere anyone can say it, but it is shown to none but them.
    """

    def said(name: bytes) -> str:
        return exchange.header(name).partition(",")[0].strip()

    scheme = said(b"x-forwarded-proto")
    if scheme not in {"http", "https"}:
        scheme = exchange.scheme
    host = said(b"x-forwarded-host") or exchange.header(b"host")
    origin = f"{scheme}://{host}" if _is_host(host) else ""
    prefix = said(b"x-forwarded-prefix")
    prefix = prefix.rstrip("/") if _PREFIX.fullmatch(prefix) else ""
    return f"{origin}{prefix}{exchange.root}"


def _is_host(text: str) -> bool:
    try:
        return _HOST.fullmatch(text) is not None and bool(urlsplit(f"//{text}").hostname)
    except ValueError:  # brackets with no address in them
        return False


def healthz(_: Request, repository: Repository) -> Reply:
    """Alive: this process answers."""
    del repository
    return _json(200, {"status": "alive"})


def readyz(_: Request, repository: Repository) -> Reply:
    """Able to serve: not every source is known to be down. Says how each one is doing.

    A source that answers, if with failures, is not down: what it says of one project is no reason
    to send no client here any more, who might ask for another.
    """
    states = repository.source_states()
    ready = not states or any(s.available is not False or s.answers for s in states)
    content = {"status": "ready" if ready else "not ready", "sources": _described(states)}
    return _json(200 if ready else 503, content)


def _json(status: int, content: object) -> Reply:
    body = msgspec.json.format(msgspec.json.encode(content)) + b"\n"
    return Reply(Head(status, _headers("application/json", body)), body)


def _headers(content_type: str, body: bytes) -> Headers:
    return [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"Accept"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    ]


def _described(states: tuple[SourceState, ...]) -> list[dict[str, Any]]:
    return [
        {"source": s.label, "kind": s.kind, "state": _state(s), "detail": s.detail} for s in states
    ]


def _state(state: SourceState) -> str:
    if state.answers:
        return "failing"
    return {None: "not asked yet", True: "available", False: "unavailable"}[state.available]


def _page(index: str, states: tuple[SourceState, ...]) -> str:
    rows = "".join(
        f"<tr><td>{position}</td><td>{escape(s.label)}</td><td>{escape(s.kind)}</td>"
        f'<td class="{"down" if s.available is False else ""}">{_state(s)}'
        f"{f'<br>{escape(s.detail)}' if s.detail else ''}</td></tr>"
        for position, s in enumerate(states, 1)
    )
    install = "\n".join(usage.install_lines(index))
    settings = "".join(
        f"<h3>{escape(title)}</h3><pre>{escape(text)}</pre>"
        for title, text in usage.settings(index)
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Python package index</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>
<body><h1>Python package index</h1>
<p>Install from here with</p>
<pre>{escape(install)}</pre>
<p>or look at <a href="simple/">all projects</a>.</p>
<h2>Sources</h2>
<p>The first source that has a project owns it, with all its versions.</p>
<table><tr><th>#</th><th>Source</th><th>Kind</th><th>State</th></tr>{rows}</table>
<h2>Use it always</h2>
{settings}
<footer>simple-repository-server {escape(__version__)}</footer></body></html>
"""
