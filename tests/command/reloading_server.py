"""A server whose settings come from a small JSON file: reloading, whatever reads the file.

`python -m tests.command.reloading_server FILE` with `{"sources": {NAME: DIRECTORY or URL},
"indexes": {NAME: {"sources": [NAME], "deny": [PATTERN]}}, "workers": 2}`; the first index is the
default one. A file that is not such JSON is invalid, with a mistake per line.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from simple_repository_server.cli.banner import banner
from simple_repository_server.cli.early_signals import stop_at_once
from simple_repository_server.cli.server import serve
from simple_repository_server.config.load import BadSetting
from simple_repository_server.config.rule_settings import RuleKind, RuleSettings
from simple_repository_server.config.settings import (
    DirectorySource,
    IndexSettings,
    IndexSource,
    Settings,
    Source,
)
from simple_repository_server.model import FilesMode


def load(file: Path) -> Settings:
    """The settings that the file makes. Raises `BadSetting`."""
    try:
        said = json.loads(file.read_text())
        names = list(said["sources"])
        indexes = tuple(
            _index(name, one, names, default=number == 0)
            for number, (name, one) in enumerate(said["indexes"].items())
        )
        sources = tuple(_source(name, text) for name, text in said["sources"].items())
    except (OSError, ValueError, KeyError) as error:
        raise BadSetting(f"first mistake: {type(error).__name__}\nsecond mistake") from error
    cache = said.get("cache")
    return Settings(
        sources=sources,
        indexes=indexes,
        config=file,
        port=said.get("port", 0),
        workers=said.get("workers", 1),
        files=FilesMode(said.get("files", "redirect")),
        cache=None if cache is None else Path(cache),
    )


def _index(name: str, said: Any, names: list[str], *, default: bool) -> IndexSettings:
    rules = [
        RuleSettings(kind=RuleKind.DENY, label=f"deny {number} of {name}", patterns=(pattern,))
        for number, pattern in enumerate(said.get("deny", []))
    ]
    rules += [
        RuleSettings(kind=RuleKind.RESERVE, label="reserve", patterns=(pattern,), owner=owner)
        for pattern, owner in said.get("reserve", {}).items()
    ]
    positions = tuple(names.index(source) for source in said["sources"])
    snapshots = said.get("snapshots", False)
    return IndexSettings(
        name=name, default=default, sources=positions, rules=tuple(rules), snapshots=snapshots
    )


def _source(name: str, text: str) -> Source:
    if text.startswith("http"):
        return IndexSource(name=name, url=text)
    return DirectorySource(name=name, path=Path(text))


if __name__ == "__main__":
    stop_at_once()
    path = Path(sys.argv[1]).absolute()
    settings = load(path)
    serve(settings, partial(banner, settings, implicit=False), reload=partial(load, path))
