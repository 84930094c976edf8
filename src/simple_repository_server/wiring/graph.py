"""From settings to the indexes: the order of all wrappers stands here.

Outermost first: past states (freeze on request) → metadata → the rules of the index → priority →
for each source: [names reserved for others] → [its own rules] → files on disk → the source.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simple_repository_server.combine.priority import PrioritySelectedProjectsRepository
from simple_repository_server.config.rule_settings import RuleKind, RuleSettings
from simple_repository_server.config.settings import IndexSettings, Settings
from simple_repository_server.disk.metadata_store import MetadataStore
from simple_repository_server.model import FilesMode
from simple_repository_server.observe.events import Emit
from simple_repository_server.repository import Repository
from simple_repository_server.transforms.metadata import MetadataInjectorRepository
from simple_repository_server.web.hosts import HostRule
from simple_repository_server.web.served import PastStates, Served
from simple_repository_server.wiring.parts import Parts
from simple_repository_server.wiring.sources import METADATA, UNIONS, SourceBuilder, files_mode

if TYPE_CHECKING:
    from simple_repository_server.wiring.rules import RuleBuilder

#: Of the memory for metadata, what may wait to be written to disk.
_WRITES_PART = 8


def build_served(
    settings: Settings, emit: Emit, *, parts: Parts | None = None, hosts: HostRule | None = None
) -> Served:
    """The indexes of the settings; what `parts` holds of a graph before is used again.

    It opens nothing, and may run in any thread. Raises `ValueError` for settings that contradict
    themselves; those that were read from a file do not.
    """
    parts = Parts() if parts is None else parts
    graph = _Graph(settings, emit, parts)
    default: Repository | None = None
    named: dict[str, Repository] = {}
    past: dict[str, PastStates] = {}
    for index in settings.indexes or (_all_sources(settings),):
        repository = graph.index(index)
        if index.name:
            named[index.name] = repository
        if index.default:
            default = repository
        if index.snapshots:
            names = [index.name] if index.name else []
            past |= dict.fromkeys([*names, ""] if index.default else names, graph.past(repository))
    if default is None:
        raise ValueError("no index is the default one")
    parts.complete()
    return Served(
        default=default, indexes=named, snapshots=past, files=_mode(settings), hosts=hosts
    )


def _all_sources(settings: Settings) -> IndexSettings:
    return IndexSettings(sources=tuple(range(len(settings.sources))))


def _reserved(index: IndexSettings) -> Mapping[str, tuple[str, ...]]:
    """The patterns of names that are reserved in the index, by the source that owns them."""
    found: dict[str, list[str]] = {}
    for one in index.rules:
        if one.kind is RuleKind.RESERVE:
            found.setdefault(one.owner, []).extend(one.patterns)
    return {owner: tuple(texts) for owner, texts in found.items()}


def _mode(settings: Settings) -> FilesMode:
    """Redirect if any source does: the files of others have no address to redirect to."""
    modes = {files_mode(source, settings) for source in settings.sources}
    return FilesMode.REDIRECT if FilesMode.REDIRECT in modes else settings.files


class _Graph:
    """The components of all indexes, each made once."""

    def __init__(self, settings: Settings, emit: Emit, parts: Parts) -> None:
        self._settings = settings
        self._emit = emit
        self._parts = parts
        self._sources = SourceBuilder(settings, parts, emit)
        self._rules = self._rule_builder()

    def index(self, index: IndexSettings) -> Repository:
        """One index, without its past states."""
        reserved = _reserved(index)
        sources = tuple(self._source(reserved, position) for position in index.sources)
        return self._with_metadata(self._ruled(self._combined(sources), index.rules))

    def past(self, index: Repository) -> PastStates:
        """The past states of an index."""
        from simple_repository_server.policy.snapshots import Snapshots

        return self._parts.get((Snapshots, index), lambda: Snapshots(index))

    def _rule_builder(self) -> "RuleBuilder | None":
        """None if there are no rules: many servers have none, and need not import them."""
        settings = self._settings
        if not any(index.rules for index in settings.indexes) and not settings.source_rules:
            return None
        from simple_repository_server.wiring.rules import RuleBuilder

        return RuleBuilder(settings, self._parts, self._emit)

    def _source(self, reserved: Mapping[str, tuple[str, ...]], position: int) -> Repository:
        """A source as an index sees it, in which these names are reserved for others."""
        rules = self._settings.source_rules.get(position, ())
        source = self._ruled(self._sources.source(position), rules, owns_names=True)
        for owner, texts in reserved.items():
            if owner != self._settings.sources[position].name:
                source = self._without_names_of(owner, texts, source)
        return source

    def _without_names_of(
        self, owner: str, texts: tuple[str, ...], source: Repository
    ) -> Repository:
        from simple_repository_server.policy.reserved import ReservedNamesRepository

        assert self._rules is not None
        patterns = self._rules.patterns(texts)
        return self._parts.get(
            (ReservedNamesRepository, source, patterns, owner),
            lambda: ReservedNamesRepository(source, patterns, owner=owner),
        )

    def _combined(self, sources: tuple[Repository, ...]) -> Repository:
        if len(sources) == 1:
            return sources[0]
        lists = self._sources.memory("unions", UNIONS)
        return self._parts.get(
            (PrioritySelectedProjectsRepository, sources, lists),
            lambda: PrioritySelectedProjectsRepository(sources, lists=lists, emit=self._emit),
        )

    def _ruled(
        self, source: Repository, settings: Sequence[RuleSettings], *, owns_names: bool = False
    ) -> Repository:
        rules = () if self._rules is None else self._rules.rules(settings)
        if not rules:
            return source
        from simple_repository_server.policy.repository import RuleRepository

        return self._parts.get(
            (RuleRepository, source, rules, owns_names),
            lambda: RuleRepository(source, rules, owns_names=owns_names, emit=self._emit),
        )

    def _with_metadata(self, source: Repository) -> Repository:
        disk = self._sources.disk
        memory = self._sources.memory("metadata", METADATA)
        store = (
            None
            if disk is None
            else self._parts.get((MetadataStore, disk), lambda: MetadataStore(disk))
        )
        writes = memory.max_bytes // _WRITES_PART // max(1, len(self._settings.indexes))
        return self._parts.get(
            (MetadataInjectorRepository, source, memory, store),
            lambda: MetadataInjectorRepository(
                source, memory=memory, write_bytes=writes, store=store, emit=self._emit
            ),
        )
