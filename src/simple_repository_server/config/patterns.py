"""Whether a text is a pattern: a glob of project names with an optional version specifier."""

import re

from packaging.specifiers import InvalidSpecifier, SpecifierSet

_PATTERN = re.compile(r"\s*([^\s<>=!~;,@]*)\s*(.*?)\s*")
_GLOB = re.compile(r"[A-Za-z0-9*?]([A-Za-z0-9._*?-]*[A-Za-z0-9*?])?")
#: No name is empty, so one `?` excludes none.
_EVERYTHING = re.compile(r"\*+\??\**|\?\*+")
_SEPARATORS = re.compile(r"[-_.]+")


def pattern_problem(text: str, *, versions: bool = True) -> str:
    """What is wrong with a pattern, with its remedy; "" if nothing is.

    `versions`: whether it may have a version specifier.
    """
    found = _PATTERN.fullmatch(text)
    name, specifier = found.groups() if found else ("", text)
    if not text.strip():
        return 'it is empty; write a name or glob, as "numpy" or "corp-*", or remove it'
    if not _GLOB.fullmatch(name):
        return (
            f"{text!r} is not a name or glob with an optional version specifier; "
            'write it as "numpy", "corp-*" or "requests<2.32"'
        )
    if specifier and not versions:
        return f"{text!r} has a version specifier, but whole projects are meant; write {name!r}"
    try:
        SpecifierSet(specifier)
    except InvalidSpecifier:
        return f'{text!r} has an invalid version specifier; write it as "requests<2.32" (PEP 440)'
    return ""


def same_pattern(text: str) -> str:
    """A text that is equal for two spellings of one pattern."""
    found = _PATTERN.fullmatch(text)
    if found is None:
        return text
    return _SEPARATORS.sub("-", found[1]).lower() + ",".join(
        sorted(part.strip() for part in found[2].split(",") if part.strip())
    )


def name_of(text: str) -> str:
    """The name or glob of a pattern, without its version specifier."""
    found = _PATTERN.fullmatch(text)
    return found[1] if found else text


def is_everything(text: str) -> bool:
    """Whether the pattern matches all projects and versions."""
    return _EVERYTHING.fullmatch(text.strip()) is not None
