"""The server with an audit log: `python -m tests.audited FILE WORKERS FILES SOURCE…`."""

import sys
from pathlib import Path

from simple_repository_server.cli.early_signals import stop_at_once
from simple_repository_server.cli.server import serve
from simple_repository_server.config.load import cache_folder, load_sources
from simple_repository_server.config.settings import Settings
from simple_repository_server.model import FilesMode


def main() -> None:
    """Serve as the command does."""
    stop_at_once()
    audit, workers, files, *sources = sys.argv[1:]
    settings = Settings(
        sources=load_sources(tuple(sources), forbidden_means_absent=()),
        port=0,
        audit=Path(audit),
        workers=int(workers),
        files=FilesMode(files),
        cache=cache_folder(),
    )
    serve(settings, lambda index, _: f"serves {index}\nuv pip install")


if __name__ == "__main__":
    main()
