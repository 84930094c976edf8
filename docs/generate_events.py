"""Write the table in docs/events.md from the code: `python -m docs.generate_events`."""

import inspect
import re
import sys
from itertools import groupby
from pathlib import Path

from simple_repository_server.observe import (
    advisory_events,
    events,
    rule_events,
    server_events,
)
from simple_repository_server.observe.events import Event

_MODULES = (server_events, events, advisory_events, rule_events)
DOCUMENT = Path(__file__).parent / "events.md"
_MARKED = re.compile(r"(<!-- events: begin -->\n).*?(<!-- events: end -->)", re.DOTALL)
_FIELD = re.compile(r"(?:^    #: (?P<says>.*)\n)?^    (?P<name>\w+): (?!ClassVar)", re.MULTILINE)


def kinds() -> list[type[Event]]:
    """All events, in the order of the source; those with one name follow each other."""
    return [
        kind
        for module in _MODULES
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, Event) and kind.__module__ == module.__name__
        if kind is not Event
    ]


def table() -> str:
    """The Markdown table: a line for each name."""
    lines = ["| event | level | what happened | fields |", "| --- | --- | --- | --- |"]
    for name, group in groupby(kinds(), key=lambda kind: kind.__struct_config__.tag):
        same = list(group)
        happened = "<br>".join(inspect.cleandoc(kind.__doc__ or "") for kind in same)
        levels = "<br>".join(kind.level for kind in same)
        cells = f"`{name}`", levels, " ".join(happened.split()), _fields(same[0])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _fields(kind: type[Event]) -> str:
    """The names, each with what its comment says."""
    comments = {
        found["name"]: found["says"]
        for base in reversed(kind.__mro__)
        if base.__module__ in {module.__name__ for module in _MODULES}
        for found in _FIELD.finditer(inspect.getsource(base))
    }
    return ", ".join(
        f"`{name}`" + (f" ({says.rstrip('.')})" if (says := comments.get(name)) else "")
        for name in kind.__struct_fields__
    )


def generated(text: str) -> str:
    """The document with the table of the code in its place."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{table()}\n{found[2]}", text)


def main() -> int:
    """Write the table; with `--check`, only report whether it differs, by the exit status."""
    text = DOCUMENT.read_text()
    new = generated(text)
    if "--check" in sys.argv[1:]:
        return int(new != text)
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
