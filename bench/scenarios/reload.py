"""Reloading the configuration under load: how long it takes, and whom it delays."""

import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.load import took_ms
from bench.results import Row, single
from bench.scenario import Bench
from bench.servers import Running, ours

_SOURCES = 50
_RULES = 10_000
_RELOADS = 5
_DEADLINE_S = 60.0
_QUIET_S = 3.0


def reload(bench: Bench) -> Iterator[Row]:
    """50 sources and 10,000 rules: the same ones again, one more, and all of them others."""
    config = bench.root / "reload.toml"
    _write(config, bench, generation=0)
    with ours(bench.root, "--config", str(config)) as server:
        page = f"{server.url}/simple/small/"
        took_ms(page)
        with _Pings(page) as quiet:
            time.sleep(_QUIET_S)
        yield single("longest wait without reloads", "ms", max(quiet.waits))
        for name, generations in (
            ("of the same settings", [0] * _RELOADS),
            ("of one more rule", [0] * _RELOADS),
            ("with 10,000 other rules", [*range(1, _RELOADS + 1)]),
        ):
            extra = name.startswith("of one")
            with _Pings(page) as pings:
                took = []
                for number, generation in enumerate(generations):
                    _write(config, bench, generation=generation, extra=number if extra else 0)
                    took.append(_reload_ms(server))
            note = f"median wait {statistics.median(pings.waits):.1f} ms"
            yield single(f"reload {name}", "ms", statistics.median(took))
            yield single(f"longest wait during reloads {name}", "ms", max(pings.waits), note=note)


class _Pings:
    """Requests in a row inside the block; how long each waited. One that fails raises."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: Exception | None = None
        self.waits: list[float] = []

    def __enter__(self) -> "_Pings":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.waits.append(took_ms(self._url))
                time.sleep(0.001)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error


def _reload_ms(server: Running) -> float:
    """From SIGHUP to the line in the log that says it is done."""
    with server.log.open() as log:
        log.seek(0, os.SEEK_END)
        begun = time.perf_counter()
        server.process.send_signal(signal.SIGHUP)
        while time.perf_counter() - begun < _DEADLINE_S:
            if " reloaded " in log.read():
                return (time.perf_counter() - begun) * 1000
            time.sleep(0.005)
    raise RuntimeError(f"no reload within {_DEADLINE_S:.0f} s; see {server.log}")


def _write(config: Path, bench: Bench, *, generation: int, extra: int = 0) -> None:
    lines = ['log-level = "info"']
    for number in range(_SOURCES):
        url = f"{bench.upstream_url}/json/" if number == 0 else f"{bench.upstream_url}/{number}/"
        lines += [f"[sources.s{number}]", f'url = "{url}"']
    names = ", ".join(f'"s{number}"' for number in range(_SOURCES))
    lines += ["[indexes.main]", "default = true", f"sources = [{names}]"]
    for number in range(_RULES + extra):
        lines += [
            "[[indexes.main.rules]]",
            f'deny = ["bad-{generation}-{number}", "worse-{number}<2.{number}"]',
            f'reason = "ticket {number}"',
        ]
    fresh = config.with_suffix(".new")
    fresh.write_text("\n".join(lines))
    fresh.rename(config)
