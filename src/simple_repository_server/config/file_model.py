"""The keys of the configuration file and the types of their values, as pydantic models.

Imported only when a file is used, because pydantic is slow to import. What a value means, and what
goes together with what, is decided in the modules that read the tables.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from simple_repository_server.config.file_values import (
    Bytes,
    Duration,
    Moment,
    PathText,
    Seconds,
    Timeout,
)
from simple_repository_server.config.options import OPTIONS, Kind, Option
from simple_repository_server.config.rule_settings import RuleKind
from simple_repository_server.model import FilesMode
from simple_repository_server.policy.file_kinds import FileKind
from simple_repository_server.policy.undated import Undated


def _kebab(name: str) -> str:
    return name.strip("_").replace("_", "-")


class Table(BaseModel):
    """A table of the file: its keys have hyphens, and unknown ones are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=_kebab)


_Files = Annotated[FilesMode, Field(strict=False)]
_Kinds = list[Annotated[FileKind, Field(strict=False)]]


class RuleTable(Table):
    """A rule: exactly one key says which, the others limit or explain it."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [kind.value]} for kind in RuleKind]}
    )

    reserve: list[str] | None = Field(
        default=None,
        description="Names that belong to one source (`for`): no other is queried for them.",
    )
    for_: str | None = Field(
        default=None, description="The source to which the reserved names belong.", alias="for"
    )
    allow: list[str] | None = Field(
        default=None, description="Patterns of projects or versions: everything else is hidden."
    )
    deny: list[str] | None = Field(
        default=None, description="Patterns of projects or versions that are hidden."
    )
    min_age: Duration | None = Field(
        default=None, description='Hide files that are younger, as "7 days" (cooldown).'
    )
    undated: Annotated[Undated, Field(strict=False)] | None = Field(
        default=None,
        description="Of min-age and freeze: what to do with files without an upload time: hide "
        "them (refuse, the default), show them (allow), or count from when this server first saw "
        "them (first-seen).",
    )
    fast_lane: bool | None = Field(
        default=None,
        description="Of min-age: versions that fix a known advisory are shown at once.",
    )
    freeze: Moment | None = Field(
        default=None,
        description="Hide what was uploaded at or after this date (00:00 UTC) or time.",
    )
    advisories: Literal["all", "malicious"] | None = Field(
        default=None, description="Hide versions that an advisory is about, or only malicious ones."
    )
    ignore: list[str] | None = Field(
        default=None, description="Of advisories: identifiers of records that do not count."
    )
    only: Literal["wheels", "sdists"] | None = Field(
        default=None, description="Hide files of all other kinds."
    )
    pre_releases: Literal["hide"] | None = Field(default=None, description="Hide pre-releases.")
    yanked: Literal["hide"] | None = Field(default=None, description="Hide yanked files.")
    yank: list[str] | None = Field(
        default=None, description="Patterns of projects or versions that are shown as yanked."
    )
    yank_file: PathText | None = Field(
        default=None,
        description="A file (JSON of globs, or SQLite) that says what is shown as yanked.",
    )
    quarantine: list[str] | None = Field(
        default=None,
        description="Names of projects that are shown as quarantined: they offer no files.",
    )
    status: Literal["archived", "deprecated"] | None = Field(
        default=None, description="The status that `projects` are shown with."
    )
    projects: list[str] | None = Field(
        default=None, description="Patterns: the rule is only about these projects or versions."
    )
    except_: list[str] | None = Field(
        default=None,
        description="Patterns: the rule is not about these projects or versions.",
        alias="except",
    )
    kinds: _Kinds | None = Field(
        default=None, description="The rule is only about files of these kinds."
    )
    larger_than: Bytes | None = Field(
        default=None, description='The rule is only about files larger than this, as "100MB".'
    )
    smaller_than: Bytes | None = Field(
        default=None, description='The rule is only about files smaller than this, as "1kB".'
    )
    platforms: list[str] | None = Field(
        default=None,
        description='The rule is only about wheels with such a platform tag, as "win*".',
    )
    reason: str | None = Field(
        default=None, description="Shown to users whose files the rule hides."
    )
    dry_run: bool | None = Field(
        default=None, description="Report what the rule would hide, and show it."
    )
    conceal: bool | None = Field(
        default=None, description="Answer 404 instead of 403 for what the rule hides."
    )


class SourceTable(Table):
    """A source: a remote index (`url`) or a local directory (`path`)."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["url"]}, {"required": ["path"]}]}
    )

    url: str | None = Field(
        default=None,
        description="The URL of a simple index, or pypi. ${NAME} is replaced by that environment "
        "variable.",
    )
    path: PathText | None = Field(default=None, description="A directory of distribution files.")
    user: str | None = Field(
        default=None, description="The user name for the index; may have ${NAME}."
    )
    password: str | None = Field(
        default=None, description="The password; write ${NAME} for an environment variable."
    )
    password_file: PathText | None = Field(
        default=None, description="A file with the password, which only its owner can read."
    )
    connect_timeout: Timeout | None = Field(
        default=None, description="For connecting; default 5 s."
    )
    idle_timeout: Timeout | None = Field(
        default=None, description="The longest silence while an answer arrives; default 30 s."
    )
    page_timeout: Timeout | None = Field(
        default=None, description="For a whole page with its retries; default 60 s."
    )
    file_timeout: Timeout | None = Field(
        default=None, description="For a whole file, beside 10 s for each MB; default 1 h."
    )
    ca_file: PathText | None = Field(
        default=None,
        description="Authorities (PEM) to trust for this index in addition to the others.",
    )
    client_cert: PathText | None = Field(
        default=None, description="A certificate (PEM) that this server presents to the index."
    )
    client_key: PathText | None = Field(
        default=None, description="The key of client-cert, if that file does not contain it."
    )
    proxy: str | None = Field(
        default=None, description="The HTTP proxy for this index, or none; may have ${NAME}."
    )
    forbidden: Literal["absent", "error"] | None = Field(
        default=None,
        description="What status 403 of the index means: no such project, or an error.",
    )
    files: _Files | None = Field(default=None, description="How clients get its files.")
    stale_if_error: Seconds | None = Field(
        default=None,
        description="Maximum age of a page that is served while the index is unavailable.",
    )
    stale_while_revalidate: Seconds | None = Field(
        default=None, description="How long a stale page is served while it is revalidated."
    )
    rules: list[RuleTable] | None = Field(default=None, description="Rules for this source alone.")


class IndexTable(Table):
    """An index of the server, at /NAME/simple/."""

    sources: list[str] | None = Field(
        default=None,
        description="The names of its sources by priority; default: all, in their order.",
    )
    default: bool | None = Field(
        default=None, description="Whether it is at /simple/, too. A single index is."
    )
    snapshots: bool | None = Field(
        default=None,
        description="Whether its past states are served at /NAME/snapshot/DATE/simple/.",
    )
    rules: list[RuleTable] | None = Field(
        default=None, description="Its rules, after those for all indexes."
    )


class CacheTable(Table):
    """The cache on disk."""

    dir: PathText | None = Field(default=None, description="Same as cache-dir.")
    size: Bytes | None = Field(default=None, description="Same as cache-size.")


class AdvisoriesTable(Table):
    """Where advisories come from."""

    osv: PathText | None = Field(
        default=None, description="A folder or zip archive of OSV records for PyPI."
    )


class AuditTable(Table):
    """The record of what was decided and handed out."""

    file: PathText | None = Field(
        default=None, description="The file that a JSON line is written to for each."
    )


def _type(option: Option) -> Any:
    if option.kind is Kind.INTEGER:
        return Annotated[int, Field(ge=option.least, le=option.most)]
    if option.kind is Kind.CHOICE:
        return Literal[option.choices]
    types: dict[Kind, Any] = {
        Kind.FLAG: bool,
        Kind.SECONDS: Seconds,
        Kind.SIZE: Bytes,
        Kind.TEXTS: list[str],
        Kind.PATH: PathText,
        Kind.FOLDER: PathText,
    }
    return types.get(option.kind, str)


def _fields() -> dict[str, Any]:
    return {
        option.parameter: (_type(option) | None, Field(default=None, description=option.help))
        for option in OPTIONS
    }


#: The keys at the top of the file: every option of the command.
OptionsTable = create_model("OptionsTable", __base__=Table, **_fields())
_TABLES: dict[str, Any] = {
    "cache": (CacheTable | None, Field(default=None, description="The cache on disk.")),
    "sources": (
        dict[str, SourceTable] | None,
        Field(default=None, description="The sources, each with a name, by priority."),
    ),
    "indexes": (
        dict[str, IndexTable] | None,
        Field(default=None, description="The indexes; default: one of all sources at /simple/."),
    ),
    "rules": (list[RuleTable] | None, Field(default=None, description="Rules for every index.")),
    "advisories": (AdvisoriesTable | None, Field(default=None, description="Advisories.")),
    "audit": (AuditTable | None, Field(default=None, description="The audit file.")),
}
#: The whole file.
FileTable = create_model("FileTable", __base__=OptionsTable, **_TABLES)
TABLES = tuple(_TABLES)


def keys_of(model: Any) -> list[str]:
    """The keys of a table."""
    return [field.alias or name for name, field in model.model_fields.items()]
