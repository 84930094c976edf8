"""`/why/PROJECT`: why a project, or a version of it, is shown as it is. For people, and as JSON."""

from html import escape
from urllib.parse import parse_qs

import msgspec

from simple_repository_server.explanation import Answered, Explanation, HiddenGroup, counted
from simple_repository_server.names import project_name
from simple_repository_server.repository import Repository
from simple_repository_server.web.concealment import published
from simple_repository_server.web.endpoint import PathNames
from simple_repository_server.web.exchange import Exchange, Request
from simple_repository_server.web.health import uncached_headers
from simple_repository_server.web.home import STYLE
from simple_repository_server.web.problems import Problem
from simple_repository_server.web.reply import Head, Reply
from simple_repository_server.wire.negotiation import ErrorForm, choose_error_form

_MAX_VERSION = 200
#: How many names of one group of hidden files the page for people lists; JSON has all.
_MAX_NAMES = 50
_BAD = frozenset({Answered.FAILED, Answered.HIDDEN})


class WhyEndpoint:
    """Explains what the index answers for a project; `?version=` for one version of it.

    What rules conceal is not in it. The status is 200 whether or not the project is there.
    """

    async def answer(self, exchange: Exchange, repository: Repository, names: PathNames) -> None:
        """Send the explanation: a page for browsers, else JSON."""
        project = project_name(names.project)
        version = _version_in(exchange.query_string)
        if version is not None and (len(version) > _MAX_VERSION or not version.isprintable()):
            await exchange.problem(Problem(400, "This is not a version."))
            return
        found = await repository.explain(project, version, context=exchange.context)
        why = Why(project=project, version=version, explanation=published(found))
        if choose_error_form(exchange.header(b"accept")) is ErrorForm.HTML:
            body, kind = _page(why).encode(), "text/html; charset=utf-8"
        else:
            body, kind = why.as_json(), "application/json"
        await exchange.answer(Reply(Head(200, uncached_headers(kind, body)), body))

    def peek(self, request: Request, repository: Repository, names: PathNames) -> None:
        """It is left to the coroutine."""
        del request, repository, names


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """What `/why/…` answers."""

    project: str
    version: str | None
    explanation: Explanation

    @property
    def summary(self) -> str:
        """The answer in one sentence."""
        return self.explanation.summary(self.project, self.version)

    def as_json(self) -> bytes:
        """The answer as JSON, laid out for people."""
        facts = {
            "project": str(self.project),
            "version": self.version,
            "shown": self.explanation.is_shown,
            "summary": self.summary,
            "explanation": _facts(self.explanation),
        }
        encoded = msgspec.json.encode(facts, enc_hook=str)  # for subclasses of `str`
        return msgspec.json.format(encoded) + b"\n"


def _facts(node: Explanation) -> dict[str, object]:
    return {
        "component": node.component,
        "answered": node.answered,
        "detail": node.detail,
        "files": node.files,
        "hidden": [
            {
                "filename": file.filename,
                "version": file.version,
                "rule": file.rule,
                "reason": file.reason,
                "until": file.until,
                "dry_run": file.dry_run,
            }
            for file in node.hidden
        ],
        "freshness": node.freshness,
        "sources": [_facts(source) for source in node.sources],
    }


def _version_in(query: bytes) -> str | None:
    try:
        values = parse_qs(query.decode("latin-1"), max_num_fields=20).get("version", [])
    except ValueError:  # more fields than anybody needs
        return None
    return values[0].strip() or None if values else None


def _page(why: Why) -> str:
    title = escape(f"Why {why.project} {why.version}" if why.version else f"Why {why.project}")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>
<body><h1>{title}</h1>
<p>{escape(why.summary)}</p>
<h2>Who answered what</h2>
<ul>{_item(why.explanation)}</ul>
<p>See <a href="../simple/{why.project}/">the page of {why.project}</a>.</p>
</body></html>
"""


def _item(node: Explanation) -> str:
    kind = ' class="down"' if node.answered in _BAD else ""
    text = f"<strong>{escape(node.component)}</strong>: <span{kind}>{node.answered}</span>"
    facts = [counted(node.files, "file")] if node.answered is Answered.HAS else []
    facts += [fact for fact in (node.detail, node.freshness) if fact]
    about = escape("; ".join(facts))
    groups = "".join(map(_group, node.groups()))
    sources = "".join(map(_item, node.sources))
    inner = f"<ul>{groups}{sources}</ul>" if groups or sources else ""
    return f"<li>{text}{f'<br>{about}' if about else ''}{inner}</li>"


def _group(group: HiddenGroup) -> str:
    names = "".join(f"<li>{escape(name)}</li>" for name in group.filenames[:_MAX_NAMES])
    more = len(group.filenames) - _MAX_NAMES
    rest = f"<li>and {more} more</li>" if more > 0 else ""
    heading = escape(group.heading())
    return f"<li><details><summary>{heading}</summary><ul>{names}{rest}</ul></details></li>"
