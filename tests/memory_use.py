"""Memory that an index holds after many requests; a process of its own, to measure only that.

    python -m tests.memory_use ADDRESS BUDGET_IN_BYTES

reads targets from stdin, requests each from an index over ADDRESS, without a server, and prints the
growth in bytes from the 30th request to the last.
"""

import asyncio
import gc
import sys
import tracemalloc

from simple_repository_server.config.settings import IndexSource, Settings
from simple_repository_server.observe.events import ignore
from simple_repository_server.web.index import IndexApp
from simple_repository_server.wiring import build_app
from tests.asgi import JSON, ask

#: Headers of different clients, used in turn.
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Accept": JSON},
    {"Accept": JSON, "Accept-Encoding": "zstd"},
)


async def _ask_all(app: IndexApp, targets: list[str]) -> None:
    for number, target in enumerate(targets):
        await ask(app, target, headers=HEADERS[number % len(HEADERS)])


async def main(address: str, budget: int) -> None:
    """Request all targets and print the growth."""
    settings = Settings(sources=(IndexSource(url=address),), memory_bytes=budget)
    app = build_app(settings, ignore)
    targets = sys.stdin.read().split()
    async with app.repository:
        await _ask_all(app, targets[:30])
        gc.collect()
        tracemalloc.start()
        await _ask_all(app, targets[30:])
        gc.collect()
        print(tracemalloc.get_traced_memory()[0])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
