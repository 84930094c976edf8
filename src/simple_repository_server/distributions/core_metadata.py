"""The fields of core metadata that installers compare: of a wheel, and of a file beside it.

pip refuses a wheel whose `.metadata` differs from what is in the wheel in one of these fields.
"""

import email
from collections.abc import Callable, Iterable

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from simple_repository_server.distributions.filenames import Distribution

_FIELDS = ("Name", "Version", "Requires-Dist", "Requires-Python", "Provides-Extra")


class CoreMetadata(msgspec.Struct, frozen=True):
    """The fields that installers compare, each with its values in order."""

    fields: dict[str, tuple[str, ...]]

    def first(self, field: str) -> str | None:
        """The first value of the field that is not empty, or None."""
        return next(filter(None, self.fields[field]), None)


def parse_core_metadata(content: bytes) -> CoreMetadata:
    """Parse the headers; never raises, for any bytes."""
    head = content.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    message = email.message_from_bytes(head)
    values = {name: message.get_all(name) or () for name in _FIELDS}
    return CoreMetadata(
        {name: tuple(str(v).strip() for v in all_) for name, all_ in values.items()}
    )


def contradiction(metadata: CoreMetadata, distribution: Distribution) -> str:
    """Why this cannot be the metadata of that distribution; "" if it can."""
    name, version = metadata.first("Name"), metadata.first("Version")
    if not name or not version:
        return "it names no project and version"
    if _name(name) != distribution.project:
        return f"it is that of another project, {name[:80]!r}"
    if _version(version) != _version(distribution.version.replace("_", "-")):
        return f"it is that of another version, {version[:80]!r}"
    return ""


def differences(one: CoreMetadata, other: CoreMetadata) -> tuple[str, ...]:
    """The fields that an installer would find to differ."""
    return tuple(name for name in _FIELDS if _compared(one, name) != _compared(other, name))


def _compared(metadata: CoreMetadata, field: str) -> frozenset[object]:
    return frozenset(map(_READ[field], metadata.fields[field]))


def _or_text(read: Callable[[str], object], *errors: type[Exception]) -> Callable[[str], object]:
    def reading(text: str) -> object:
        try:
            return read(text)
        except errors:
            return text

    return reading


def _name(text: str) -> str:
    return canonicalize_name(text)


_version = _or_text(Version, InvalidVersion)
_READ: dict[str, Callable[[str], object]] = {
    "Name": _name,
    "Version": _version,
    "Requires-Dist": _or_text(Requirement, InvalidRequirement),
    "Requires-Python": _or_text(SpecifierSet, InvalidSpecifier),
    "Provides-Extra": _name,
}


def fields_in_words(fields: Iterable[str]) -> str:
    """`Requires-Dist and Requires-Python`."""
    *others, last = fields
    return f"{', '.join(others)} and {last}" if others else last
