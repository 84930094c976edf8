"""Content negotiation: pure functions that raise nothing but `NotAcceptable`.

Forms follow PEP 691 and RFC 9110 §12.5.1, codings RFC 9110 §12.5.3. Results are memoised for the
latest header values, as the same few clients send the same ones.
"""

import re
from collections.abc import Iterator
from enum import Enum, StrEnum
from functools import lru_cache
from urllib.parse import parse_qs

from simple_repository_server.errors import NotAcceptable


class Form(Enum):
    """The forms a page or list can have; the value is the media type."""

    JSON = "application/vnd.pypi.simple.v1+json"
    HTML_V1 = "application/vnd.pypi.simple.v1+html"
    HTML = "text/html"

    @property
    def content_type(self) -> str:
        """The Content-Type: HTML states its charset, JSON has no such parameter."""
        return self.value if self is Form.JSON else f"{self.value}; charset=utf-8"


class Coding(StrEnum):
    """The content codings on offer; the value is the token."""

    ZSTD = "zstd"
    GZIP = "gzip"
    IDENTITY = "identity"


OFFERS = tuple(form.value for form in Form)
_LATEST = {
    "application/vnd.pypi.simple.latest+json": Form.JSON,
    "application/vnd.pypi.simple.latest+html": Form.HTML_V1,
}
_NAMED = {form.value: form for form in Form} | _LATEST
#: The form a wildcard stands for: the default for clients without a preference.
_WILDCARDS = {"*/*": Form.HTML, "text/*": Form.HTML, "application/*": Form.JSON}
#: Between equal weights the most expressive form wins (PEP 691): JSON, then versioned HTML.
_RANK = {form: rank for rank, form in enumerate((Form.HTML, Form.HTML_V1, Form.JSON))}

_WEIGHT = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")
_TOKEN = r"[!#$%&'*+.^_`|~0-9a-z-]+"  # noqa: S105 - RFC 9110 §5.6.2
_RANGE = re.compile(rf"{_TOKEN}/{_TOKEN}")
_CODING = re.compile(_TOKEN)
#: Longer headers are truncated, which bounds memory.
_MAX_HEADER = 4096
#: How many results are memoised.
_REMEMBERED = 128


def _weighed(header: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, float]]:
    """The items of a list header with their weights; invalid ones are skipped."""
    for item in header.lower().split(","):
        value, *parameters = (part.strip() for part in item.split(";"))
        if not pattern.fullmatch(value):
            continue
        weight = 1.0
        for parameter in parameters:
            name, _, text = parameter.partition("=")
            if name.strip() == "q" and _WEIGHT.fullmatch(text.strip()):
                weight = float(text)
        yield value, weight


def choose_form(accept: str) -> Form:
    """The form for an `Accept` header ("" if absent).

    Raises `NotAcceptable` if it names only types that are not on offer; a header without any valid
    type counts as absent.
    """
    return _choose_form(accept[:_MAX_HEADER])


@lru_cache(maxsize=_REMEMBERED)
def _choose_form(accept: str) -> Form:
    ranges = dict(_weighed(accept, _RANGE))
    if not ranges:
        return Form.HTML
    candidates: list[tuple[float, int, Form]] = []
    for form in Form:
        weight = _weight_of(form, ranges)
        if weight > 0:
            candidates.append((weight, _RANK[form], form))
    if not candidates:
        raise NotAcceptable(accept, OFFERS)
    return max(candidates)[2]


def _weight_of(form: Form, ranges: dict[str, float]) -> float:
    """The weight the most specific range gives the form (RFC 9110 §12.5.1).

    A wildcard applies to the one form it stands for, and to others only if that one is excluded by
    name.
    """
    named = [ranges[name] for name, meant in _NAMED.items() if meant is form and name in ranges]
    if named:
        return max(named)
    for wildcard in (f"{form.value.partition('/')[0]}/*", "*/*"):
        if wildcard in ranges:
            meant = _WILDCARDS[wildcard]
            if meant is form or ranges.get(meant.value) == 0:
                return ranges[wildcard]
    return 0.0


def requested_form(accept: str, query: str) -> Form:
    """The form for a request: `?format=` takes precedence over `Accept` (PEP 691).

    Raises `NotAcceptable`; a format that is empty or a list of types is ignored.
    """
    if "format=" in query:
        wanted = parse_qs(query).get("format", [""])[-1].strip().replace(" ", "+").lower()
        if wanted in _NAMED:
            return _NAMED[wanted]
        if _RANGE.fullmatch(wanted) and "*" not in wanted:
            raise NotAcceptable(wanted, OFFERS)
    return choose_form(accept)


def choose_coding(accept_encoding: str) -> Coding:
    """The coding for an `Accept-Encoding` header ("" if absent: identity).

    Prefers by weight, then zstd, gzip, identity. If nothing on offer is acceptable, identity is
    sent, as RFC 9110 allows.
    """
    return _choose_coding(accept_encoding[:_MAX_HEADER])


@lru_cache(maxsize=_REMEMBERED)
def _choose_coding(accept_encoding: str) -> Coding:
    weights = dict(_weighed(accept_encoding, _CODING))
    any_other = weights.get("*", 0.0)
    offers = [
        (weights.get(Coding.ZSTD, any_other), 3, Coding.ZSTD),
        (max(weights.get(Coding.GZIP, any_other), weights.get("x-gzip", 0.0)), 2, Coding.GZIP),
        (weights.get(Coding.IDENTITY, 0.0), 1, Coding.IDENTITY),
    ]
    weight, _, coding = max(offers)
    return coding if weight > 0 else Coding.IDENTITY


class ErrorForm(Enum):
    """The forms of an error; the value is the Content-Type."""

    JSON = "application/json"
    HTML = "text/html; charset=utf-8"
    TEXT = "text/plain; charset=utf-8"


def choose_error_form(accept: str) -> ErrorForm:
    """The form of an error: JSON for a client that accepts JSON, HTML for a browser, else text."""
    ranges = dict(_weighed(accept[:_MAX_HEADER], _RANGE))
    json = max((w for r, w in ranges.items() if r.endswith(("/json", "+json"))), default=0.0)
    html = max((w for r, w in ranges.items() if r.endswith(("/html", "+html"))), default=0.0)
    if json > 0 and json >= html:
        return ErrorForm.JSON
    return ErrorForm.HTML if html > 0 else ErrorForm.TEXT
