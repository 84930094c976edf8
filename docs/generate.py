"""Write the table of options in docs/command.md from the code: `python -m docs.generate`."""

import re
import sys
from pathlib import Path

import click

from simple_repository_server.cli.serve import command

DOCUMENT = Path(__file__).parent / "command.md"
_MARKED = re.compile(r"(<!-- options: begin -->\n).*?(<!-- options: end -->)", re.DOTALL)
_DEFAULT = re.compile(r"\s*\[default: (?P<default>.*)\]$")


def options() -> str:
    """The Markdown table of the server's options: a line for each one."""
    lines = ["| option | default | meaning |", "| --- | --- | --- |"]
    context = click.Context(command, info_name="simple-repository-server")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None:
            meaning, default = _meaning(parameter)
            lines.append(f"| `{_cell(record[0])}` | {_cell(default)} | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


def _meaning(option: click.Option) -> tuple[str, str]:
    """What an option does and its default, from its help text."""
    text = option.help or ""
    stated = _DEFAULT.search(text)
    if stated is not None:
        return text[: stated.start()], stated["default"]
    return text, f"`{option.default}`" if option.show_default else ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")


def generated(text: str) -> str:
    """The document with the table generated from the code."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{options()}\n{found[2]}", text)


def main() -> int:
    """Write the table; with `--check`, only report by the exit status whether it is up to date."""
    text = DOCUMENT.read_text()
    new = generated(text)
    if "--check" in sys.argv[1:]:
        return int(new != text)
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
