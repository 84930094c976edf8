"""Small files that are streamed, not cached, beside nginx passing the same files on."""

from collections.abc import Iterator

from bench.load import fetch_ok
from bench.nginx import nginx_proxy
from bench.published import Published, publish
from bench.results import Row
from bench.scenario import Bench, Target, compared
from bench.scenarios.cache import resource_url
from bench.servers import JSON_TYPE, ours

_SIZES = {"5 kB": 5_000, "74 kB": 74_000}


def small_files(bench: Bench) -> Iterator[Row]:
    """Wheels of 5 and 74 kB through `--files stream`, and through nginx `proxy_pass`."""
    files: dict[str, Published] = {
        called: publish(bench.fixtures.upstream, f"streamed-{size}", size)
        for called, size in _SIZES.items()
    }
    with (
        nginx_proxy(bench.root, bench.upstream_url) as proxy,
        ours(bench.root, "--files", "stream", f"{bench.upstream_url}/json/") as stream,
    ):
        for called, published in files.items():
            page = f"{stream.url}/simple/{published.project}/"
            fetch_ok(page, {"Accept": JSON_TYPE})
            targets = {
                "nginx": Target(proxy, f"{proxy.url}/pass{published.path}"),
                "ours": Target(stream, resource_url(stream, published)),
            }
            name = f"{called} file, --files stream (nginx: proxy_pass), 16 clients"
            yield compared(bench, name, targets, 16)
