"""The settings of a rule: what a `[[…rules]]` table of the configuration file means, validated."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from simple_repository_server.model import Status
from simple_repository_server.policy.file_kinds import FileKind
from simple_repository_server.policy.undated import Undated


class RuleKind(StrEnum):
    """Which rule it is: the key of the table that says so."""

    RESERVE = "reserve"
    ALLOW = "allow"
    DENY = "deny"
    MIN_AGE = "min-age"
    FREEZE = "freeze"
    ADVISORIES = "advisories"
    ONLY = "only"
    PRE_RELEASES = "pre-releases"
    YANKED = "yanked"
    YANK = "yank"
    YANK_FILE = "yank-file"
    QUARANTINE = "quarantine"
    STATUS = "status"


class RuleSettings(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One rule. Which fields count depends on `kind`; the scope's count for all."""

    kind: RuleKind
    #: How it is named in answers and logs, as in `min-age = "7 days" (indexes.main, rule 2)`.
    label: str
    #: Of reserve, allow, deny, yank, quarantine, status: globs of project names, each with an
    #: optional version specifier (`corp-*`, `requests<2.32`).
    patterns: tuple[str, ...] = ()
    #: Of reserve: the name of the source to which the names belong (`for`).
    owner: str = ""
    #: Of min-age, in seconds.
    min_age_s: float = 0.0
    #: Of freeze, in UTC.
    at: datetime | None = None
    #: Of min-age and freeze.
    undated: Undated = Undated.REFUSE
    #: Of min-age: versions that fix a known advisory come at once.
    fast_lane: bool = False
    #: Of advisories: only known malicious versions, not also vulnerable ones.
    malicious_only: bool = False
    #: Of advisories: identifiers of records (or their aliases) that do not count.
    ignore: tuple[str, ...] = ()
    #: Of only: the kind of files that is shown.
    only: FileKind | None = None
    #: Of status.
    status: Status | None = None
    #: Of yank-file: JSON of globs, or SQLite.
    file: Path | None = None
    #: The operator's reason, shown to users; "" for none.
    reason: str = ""
    dry_run: bool = False
    conceal: bool = False
    # The scope: the rule is only about files for which all of this holds.
    #: Patterns as above; None: all projects.
    projects: tuple[str, ...] | None = None
    #: Patterns as above (`except`).
    exempt: tuple[str, ...] = ()
    #: None: all kinds.
    kinds: tuple[FileKind, ...] | None = None
    #: In bytes; files of unknown size are in scope.
    larger_than: int | None = None
    smaller_than: int | None = None
    #: Globs of platform tags (`win*`, `macosx_*`); None: all. Files without one are `any`.
    platforms: tuple[str, ...] | None = None
