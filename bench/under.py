"""Our application under another server: what our own server has to be compared with.

    python -m bench.under granian|uvicorn PORT [--files MODE] SOURCE ...

One process, with uvloop, and request logs as the command writes them.
"""

import argparse
import gc
import sys
from functools import partial

from simple_repository_server.config.load import cache_folder, digests_file, load_sources
from simple_repository_server.config.settings import Settings
from simple_repository_server.model import FilesMode
from simple_repository_server.observe.logs import LogWriter
from simple_repository_server.web.exchange import AsgiApp
from simple_repository_server.wiring import build_app

_HOST = "127.0.0.1"
#: As the command had it under Granian.
_SWITCH_S = 0.001


def build(settings: Settings) -> AsgiApp:
    """The application, prepared as the command prepared it under Granian."""
    app = build_app(settings, LogWriter(sys.stderr))
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    return app


def _serve_granian(settings: Settings) -> None:
    from granian.constants import Interfaces, Loops
    from granian.log import LogLevels
    from granian.server import Server

    server = Server(
        "bench.under", address=_HOST, port=settings.port, interface=Interfaces.ASGI,
        loop=Loops.uvloop, websockets=False, log_level=LogLevels.error,
    )  # fmt: skip
    server.serve(target_loader=partial(build, settings), wrap_loader=False)


def _serve_uvicorn(settings: Settings) -> None:
    import uvicorn

    uvicorn.run(
        build(settings), host=_HOST, port=settings.port, http="httptools", loop="uvloop",
        ws="none", lifespan="on", access_log=False, log_level="warning",
    )  # fmt: skip


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", choices=("granian", "uvicorn"))
    parser.add_argument("port", type=int)
    parser.add_argument("--files", type=FilesMode, default=FilesMode.REDIRECT)
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    options = parser.parse_args()
    settings = Settings(
        sources=load_sources(tuple(options.sources)),
        host=_HOST,
        port=options.port,
        files=options.files,
        cache=cache_folder(),
        digests=digests_file(),
    )
    serve = _serve_granian if options.server == "granian" else _serve_uvicorn
    serve(settings)


if __name__ == "__main__":
    main()
