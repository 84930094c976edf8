"""The settings of a server, from its command line, its environment and its configuration file."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from simple_repository_server.cli.given import Given
from simple_repository_server.cli.option_values import (
    cache_of,
    files_of,
    hosts_of,
    proxies_of,
    state_of,
)
from simple_repository_server.config.file_config import FileConfig
from simple_repository_server.config.load import (
    BadSetting,
    digests_file,
    load_egress,
    load_sources,
    parse_size,
    process_environment,
)
from simple_repository_server.config.mistakes import KeyPath, Mistake, Mistakes
from simple_repository_server.config.settings import (
    MIN_CACHE_BYTES,
    MIN_MEMORY_BYTES,
    IndexSource,
    Settings,
    Source,
)
from simple_repository_server.model import FilesMode
from simple_repository_server.observe.logs import LogFormat, LogLevel
from simple_repository_server.policy.undated import Undated
from simple_repository_server.upstream.egress import Egress

if TYPE_CHECKING:
    from simple_repository_server.config.document import Document

T = TypeVar("T")
_OPTION = re.compile(r"--([a-z][a-z-]*)")


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, and what they are from."""

    settings: Settings
    given: Given
    #: The value of each option, by parameter name.
    options: Mapping[str, Any]
    #: Those whose value is the file's, and its key there.
    keys: Mapping[str, KeyPath]
    document: "Document | None"

    def with_places(self, text: str) -> str:
        """The text, in which an option is named with where it is set, if not as an argument."""

        def placed(found: re.Match[str]) -> str:
            key = self.keys.get(found[1].replace("-", "_"))
            if key is None or self.document is None:
                return found[0]
            return f"{found[1]} ({self.document.place(key)})"

        return _OPTION.sub(placed, self.given.with_variables(text))


def load_settings(given: Given, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings for arguments and variables; the file is read again at each call.

    Blocks while it reads files; may be called in any thread and process. Raises `BadSetting`:
    `Mistakes` with everything that is wrong, if a file is used.
    """
    return load(given, environment).settings


def load(given: Given, environment: Mapping[str, str] | None = None) -> Loaded:
    """The settings as `load_settings` returns them, and what they are from."""
    environment = process_environment() if environment is None else environment
    loading = _Loading(given, environment)
    settings = loading.settings()
    loading.raise_mistakes()
    return Loaded(
        settings=settings,
        given=given,
        options=loading.options,
        keys=loading.keys,
        document=loading.document,
    )


class _Loading:
    """One reading of everything; what is wrong is collected."""

    def __init__(self, given: Given, environment: Mapping[str, str]) -> None:
        self._given = given
        self._environment = environment
        self.document: Document | None = None
        self._file = FileConfig(path=Path())
        #: What is wrong elsewhere than in the file.
        self._others: list[str] = []
        if given.config is not None:
            self._read_file(given.config)
        self.options, used = given.merged(self._file.options)
        self.keys = {name: self._file.keys[name] for name in used}

    def _read_file(self, path: Path) -> None:
        from simple_repository_server.config.document import read_document
        from simple_repository_server.config.read import read_tables  # slow to import

        self.document = read_document(path)
        self._file = read_tables(
            self.document, environment=self._environment, check_advisories=_check_advisories
        )

    def raise_mistakes(self) -> None:
        """Raise `BadSetting` if anything is wrong."""
        mistakes: list[Mistake] = []
        if self.document is not None:
            mistakes += self.document.mistakes()
        if mistakes:
            raise Mistakes([*mistakes, *(Mistake("", 0, "", text) for text in self._others)])
        if self._others:
            raise BadSetting(self._others[0])

    def settings(self) -> Settings:
        """The settings; where something is wrong, a default."""
        options, attempt, file = self.options, self._attempt, self._given.config
        sources = self._sources()
        cache = attempt(lambda: cache_of(options), None)
        state = attempt(lambda: state_of(options), None)
        egress = attempt(lambda: self._egress(sources, options["proxy"]), Egress())
        # A proxy that is wrong hides what is wrong with the certificates.
        attempt(lambda: self._egress(sources, "none"), Egress())
        files = attempt(lambda: files_of(options), FilesMode.REDIRECT)
        settings = Settings(
            sources=self._with_egress(sources, egress),
            indexes=self._indexes(len(sources)),
            source_rules=self._file.source_rules,
            config=None if file is None else file.absolute(),
            osv=self._file.osv,
            audit=self._file.audit,
            state=state,
            host=options["host"],
            port=options["port"],
            allowed_hosts=attempt(lambda: hosts_of(options), ()),
            forwarded_allow_ips=attempt(lambda: proxies_of(options), ()),
            files=files,
            workers=options["workers"],
            max_connections=options["max_connections"],
            shutdown_timeout_s=options["shutdown_timeout"],
            small_file_bytes=self._size("small-files"),
            cache=cache,
            cache_bytes=self._size("cache-size", least=MIN_CACHE_BYTES),
            offline=options["offline"],
            egress=egress,
            stale_if_error_s=options["stale_if_error"],
            stale_while_revalidate_s=options["stale_while_revalidate"],
            memory_bytes=self._size("memory", least=MIN_MEMORY_BYTES),
            log_format=LogFormat(options["log_format"]),
            log_level=LogLevel(options["log_level"]),
            debug_headers=options["debug_headers"],
            digests=None if options["no_cache"] else digests_file(),
        )
        self._check_together(settings)
        return settings

    def _size(self, name: str, least: int = 0) -> int:
        text = self.options[name.replace("-", "_")]
        return self._attempt(lambda: parse_size(text, option=f"--{name}", least=least), least)

    def _attempt(self, act: Callable[[], T], default: T) -> T:
        """What `act` returns; if that is wrong, it is collected."""
        try:
            return act()
        except BadSetting as error:
            self._add(str(error))
            return default

    def _add(self, text: str) -> None:
        """Collect a sentence: at the key in the file, if it names an option that is from there."""
        for found in _OPTION.finditer(text):
            key = self.keys.get(found[1].replace("-", "_"))
            if key is not None and self.document is not None:
                text = _OPTION.sub(r"\1", text)
                self.document.report.add(key, text.removeprefix(f"{found[1]}: "))
                return
        text = self._given.with_variables(text)
        if text not in self._others:
            self._others.append(text)

    def _sources(self) -> tuple[Source, ...]:
        given, absent = self._given, self.options["forbidden_means_absent"]
        if self.document is None or "sources" not in self.document.data:
            return self._attempt(
                lambda: load_sources(
                    given.sources, forbidden_means_absent=absent, environment=self._environment
                ),
                (),
            )
        if given.sources:
            what = "The variable SRS_SOURCES names" if given.sources_in_environment else "You gave"
            remove = "Unset it" if given.sources_in_environment else "Remove these"
            self._others.append(
                f"{what} a SOURCE, but the sources are in {self.document.place(('sources',))}. "
                f"{remove}, or use no file: --config none."
            )
        names = [source.name for source in self._file.sources]
        tables = self.document.data["sources"]
        if isinstance(tables, dict):
            names = list(tables)
        for name in absent:
            if "forbidden_means_absent" not in self.keys and name not in names:
                self._others.append(
                    self._given.with_variables(
                        f"--forbidden-means-absent names {name!r}, which is not a source of "
                        f"{self.document.path}. Give the name of one."
                    )
                )
        return tuple(
            msgspec.structs.replace(source, forbidden_means_absent=True)
            if isinstance(source, IndexSource) and source.name in absent
            else source
            for source in self._file.sources
        )

    def _egress(self, sources: Sequence[Source], proxy: str | None) -> Egress:
        return load_egress(
            sources,
            proxy=proxy,
            ca_file=self.options["ca_file"],
            offline=self.options["offline"],
            environment=self._environment,
        )

    def _with_egress(self, sources: Sequence[Source], common: Egress) -> tuple[Source, ...]:
        own = self._file.own_egress
        return tuple(
            msgspec.structs.replace(source, egress=own[at].of(common)) if at in own else source
            for at, source in enumerate(sources)
        )

    def _indexes(self, sources: int) -> Any:
        """Those of the file; if it has no sources, they are made of those that are given."""
        if self._file.sources:
            return self._file.indexes
        everything = tuple(range(sources))
        return tuple(
            msgspec.structs.replace(index, sources=everything) for index in self._file.indexes
        )

    def _check_together(self, settings: Settings) -> None:
        """What holds for the file only together with options."""
        if self.document is None:
            return
        report = self.document.report
        for source in settings.sources:
            caches = isinstance(source, IndexSource) and source.files is FilesMode.CACHE
            if caches and settings.cache is None:
                text = "there is no cache on disk (no-cache); write stream, or allow the cache"
                report.add(("sources", source.name, "files"), text)
        rules = [rule for index in settings.indexes for rule in index.rules]
        rules += [rule for found in settings.source_rules.values() for rule in found]
        remembering = [rule for rule in rules if rule.undated is Undated.FIRST_SEEN]
        if remembering and settings.state is None:
            text = (
                f"{remembering[0].label}: undated = first-seen needs a place on disk, which "
                "no-cache excludes; give state-dir"
            )
            report.add(self.keys.get("no_cache", ("rules",)), text)


def _check_advisories(path: Path) -> Sequence[str]:
    """What is wrong with the folder or archive of advisories."""
    from simple_repository_server.advisories.check import check_advisories  # slow to import

    return check_advisories(path)
