"""The scenarios: each yields rows of measured figures, ours beside the others' in one run."""

from bench.scenario import Scenario
from bench.scenarios import (
    before,
    cache,
    clients,
    cold,
    directories,
    farm,
    files,
    idle,
    pages,
    reload,
    servers,
    streaming,
)

SCENARIOS: dict[str, Scenario] = {
    "ceiling": servers.ceiling,
    "warm": pages.warm,
    "redirect": pages.redirect,
    "files": files.local_files,
    "directories": directories.directories,
    "connections": pages.connections,
    "workers": pages.workers,
    "granian": servers.granian,
    "idle": idle.idle,
    "start": cold.start,
    "cold": cold.cold_pages,
    "held-up": cold.held_up,
    "metadata": cold.remote_metadata,
    "cached-file": cache.files,
    "stream-small": streaming.small_files,
    "join": cache.join,
    "restart": cache.restart,
    "list": cache.whole_list,
    "many-pages": cache.many_pages,
    "mixed": clients.mixed,
    "install": clients.install,
    "farm": farm.farm,
    "before": before.before,
    "reload": reload.reload,
}
