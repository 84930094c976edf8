"""The configuration file of a running server: when to read it again, and what is in force."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from simple_repository_server.config.load import BadSetting
from simple_repository_server.config.settings import Settings
from simple_repository_server.observe.server_events import ConfigRefused, ConfigReloaded

#: How often to look at the file. A change is read once it is seen unchanged twice.
POLL_S = 1.0
#: What a running server cannot change, by the fields of `Settings`.
_NEEDS_RESTART = (
    "host",
    "port",
    "workers",
    "max_connections",
    "shutdown_timeout_s",
    "forwarded_allow_ips",
    "memory_bytes",
    "small_file_bytes",
    "debug_headers",
    "log_format",
    "log_level",
    "audit",
)
#: Where an option is not called as its field.
_OPTIONS = {
    "shutdown_timeout_s": "shutdown-timeout",
    "memory_bytes": "memory",
    "small_file_bytes": "small-files",
}
_Signature = tuple[int, int, int] | None


class ConfigFile:
    """The file at `settings.config`, and the settings in force.

    `load` reads the file again, with the same flags and environment, and raises `BadSetting`.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        assert settings.config is not None
        self.path: Path = settings.config
        #: The settings in force.
        self.settings = settings
        self._load = load
        self._read = self._looked_at = _signature(self.path)
        #: What was changed in the file since the start and takes a restart.
        self._restart_for: tuple[str, ...] = ()

    def has_changed(self) -> bool:
        """Whether the file is another one than was read last, and is not being written just now.

        Call it every `POLL_S` seconds: a file that changed is looked at twice, as one that an
        editor has truncated and not written yet may be valid, and without a single rule.
        """
        now = _signature(self.path)
        settled, self._looked_at = now == self._looked_at, now
        return settled and now != self._read

    def read_settings(self) -> Settings:
        """The settings that the file makes now; those that take a restart are as they were.

        Blocks. Raises `BadSetting` with all mistakes, a line each.
        """
        self._read = _signature(self.path)
        if self._read is not None and not self._read[1]:
            raise BadSetting(f"{self.path} is empty, and would serve without a rule; write it.")
        loaded = self._load()
        before = self.settings
        changed = [n for n in _NEEDS_RESTART if getattr(loaded, n) != getattr(before, n)]
        self._restart_for = tuple(_OPTIONS.get(name, name.replace("_", "-")) for name in changed)
        return msgspec.structs.replace(loaded, **{name: getattr(before, name) for name in changed})

    def reloaded(self) -> ConfigReloaded:
        """The event that this process answers by the settings that were read last."""
        return ConfigReloaded(file=str(self.path), pid=os.getpid(), restart_for=self._restart_for)

    def refused(self, error: Exception) -> ConfigRefused:
        """The event that the file cannot be used."""
        lines = str(error).splitlines() or [type(error).__name__]
        return ConfigRefused(file=str(self.path), mistakes=tuple(lines))


def _signature(path: Path) -> _Signature:
    """What changes with the file: a new one at its place, or other content. None: there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
