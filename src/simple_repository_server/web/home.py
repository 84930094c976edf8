"""The page for people: what this index is, how to use it, and the state of its sources."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

from simple_repository_server.model import RULE, SourceState
from simple_repository_server.repository import Repository
from simple_repository_server.version import __version__
from simple_repository_server.web import usage
from simple_repository_server.web.endpoint import PathNames
from simple_repository_server.web.exchange import Exchange, Request
from simple_repository_server.web.health import (
    json_reply,
    source_facts,
    state_word,
    uncached_headers,
)
from simple_repository_server.web.reply import Head, Reply
from simple_repository_server.wire.negotiation import ErrorForm, choose_error_form
from simple_repository_server.wire.urls import segment

STYLE = """
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


class HomeEndpoint:
    """What this index is and how to use it: HTML for people, JSON on request.

    `indexes` are the names of those at `/NAME/simple/`.
    """

    def __init__(self, indexes: Sequence[str] = ()) -> None:
        self._indexes = tuple(indexes)

    async def answer(self, exchange: Exchange, repository: Repository, names: PathNames) -> None:
        """Send the page."""
        del names
        states = tuple(state for state in repository.source_states() if state.kind != RULE)
        if choose_error_form(exchange.header(b"accept")) is ErrorForm.JSON:
            facts: dict[str, Any] = {
                "name": "simple-repository-server",
                "version": __version__,
                "index": "simple/",
            }
            if self._indexes:
                facts["indexes"] = {name: f"{name}/simple/" for name in self._indexes}
            reply = json_reply(200, {**facts, "sources": source_facts(states)})
        else:
            body = _page(f"{_base(exchange)}/simple/", states, self._indexes).encode()
            reply = Reply(Head(200, uncached_headers("text/html; charset=utf-8", body)), body)
        await exchange.answer(reply)

    def peek(self, request: Request, repository: Repository, names: PathNames) -> None:
        """It is left to the coroutine, which knows the mount point and the scheme."""
        del request, repository, names


def _base(exchange: Exchange) -> str:
    """The address of the root as clients see it, as far as it can be known.

    Behind a proxy that is what the proxy states. The command has removed these headers of peers
    that are no trusted proxies; elsewhere anyone can send them, but only they see the result.
    """

    def forwarded(name: bytes) -> str:
        return exchange.header(name).partition(",")[0].strip()

    scheme = forwarded(b"x-forwarded-proto")
    if scheme not in {"http", "https"}:
        scheme = exchange.scheme
    host = forwarded(b"x-forwarded-host") or exchange.header(b"host")
    origin = f"{scheme}://{host}" if _is_host(host) else ""
    prefix = forwarded(b"x-forwarded-prefix")
    prefix = prefix.rstrip("/") if _PREFIX.fullmatch(prefix) else ""
    return f"{origin}{prefix}{exchange.root}"


def _is_host(text: str) -> bool:
    try:
        return _HOST.fullmatch(text) is not None and bool(urlsplit(f"//{text}").hostname)
    except ValueError:  # brackets with no address in them
        return False


def _list_of(indexes: Sequence[str]) -> str:
    """The named indexes with their addresses; "" if there are none."""
    if not indexes:
        return ""
    items = "".join(
        f'<li><a href="{escape(segment(name))}/simple/">{escape(name)}</a></li>' for name in indexes
    )
    return f"<h2>Indexes</h2>\n<ul>{items}</ul>\n"


def _page(index: str, states: tuple[SourceState, ...], indexes: Sequence[str]) -> str:
    rows = "".join(
        f"<tr><td>{position}</td><td>{escape(s.label)}</td><td>{escape(s.kind)}</td>"
        f'<td class="{"down" if s.available is False else ""}">{state_word(s)}'
        f"{f'<br>{escape(s.detail)}' if s.detail else ''}</td></tr>"
        for position, s in enumerate(states, 1)
    )
    why = f"{index.removesuffix('simple/')}why/PROJECT"
    install = "\n".join(usage.install_lines(index))
    settings = "".join(
        f"<h3>{escape(title)}</h3><pre>{escape(text)}</pre>"
        for title, text in usage.settings(index)
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Python package index</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>
<body><h1>Python package index</h1>
<p>Install from here with</p>
<pre>{escape(install)}</pre>
<p>or look at <a href="simple/">all projects</a>.
Why a project or version is shown or missing: <code>{escape(why)}</code>.</p>
{_list_of(indexes)}<h2>Sources</h2>
<p>The first source that has a project owns it, with all its versions.</p>
<table><tr><th>#</th><th>Source</th><th>Kind</th><th>State</th></tr>{rows}</table>
<h2>Use it always</h2>
{settings}
<footer>simple-repository-server {escape(__version__)}</footer></body></html>
"""
