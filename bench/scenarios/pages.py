"""Pages from memory: sizes, forms, codings, HEAD, 304s; redirects; connections and workers."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.fixtures import SIZES, file_of
from bench.load import fetch_ok
from bench.nginx import nginx
from bench.raw import head_load
from bench.results import OLD, Row, single
from bench.scenario import Bench, Target, Targets, compared
from bench.servers import JSON_TYPE, Running, old_release, ours

FORMS = {"json": JSON_TYPE, "html": "text/html"}
CODINGS = ("identity", "gzip", "zstd")
_CONNECTIONS = (1, 16, 256)
_CLOSE = {"Connection": "close"}


def warm(bench: Bench) -> Iterator[Row]:
    """Pages of four sizes in both forms and each coding, HEAD, and 304s."""
    index = f"{bench.upstream_url}/json/"
    with ours(bench.root, index) as server:
        for form in FORMS:
            for size in SIZES:
                for coding in CODINGS:
                    targets = page_targets(bench, server, size, form, coding)
                    yield compared(bench, f"{size} page, {form}, {coding}", targets)
        for size in ("small", "medium", "huge"):
            targets = page_targets(bench, server, size)
            yield compared(bench, f"HEAD of the {size} page", targets, loading=head_load)
        for size in ("small", "medium", "huge"):
            targets = not_modified(page_targets(bench, server, size))
            yield compared(bench, f"304 for the {size} page", targets)
        yield single("memory after these pages", "MB", server.memory_mb())
    if bench.old is not None:
        yield from _old_pages(bench, index)


def page_targets(
    bench: Bench, server: Running, size: str, form: str = "json", coding: str = "identity"
) -> dict[str, Target]:
    """A page of ours, and nginx with its very bytes as a static file."""
    headers = {"Accept": FORMS[form], "Accept-Encoding": coding}
    url = f"{server.url}/simple/{size}/"
    given, body = fetch_ok(url, headers)
    if given.get("content-encoding", "identity") != coding:
        raise RuntimeError(f"{url}: coded {given.get('content-encoding')!r}, not {coding!r}")
    # nginx knows how to send gzip-coded files beside plain ones, but not zstd.
    place = f"{'zstd/' if coding == 'zstd' else ''}{form}/{size}"
    suffix = ".gz" if coding == "gzip" else ""
    _publish(bench.static / place / f"index.{form}{suffix}", body)
    static = bench.static_file(f"{place}/", headers)
    given, found = fetch_ok(static.url, headers)
    if found != body or given.get("content-encoding", "identity") != coding:
        raise RuntimeError(f"{static.url}: nginx does not send our bytes")
    return {"nginx": static, "ours": Target(server, url, headers)}


def _publish(path: Path, body: bytes) -> None:
    """The bytes as a static file; where they are there already nginx goes on with the open one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz" and not (plain := path.with_suffix("")).exists():
        plain.write_bytes(b"")  # nginx finds the index by its plain name
    if not path.exists() or path.read_bytes() != body:
        aside = path.with_suffix(".new")
        aside.write_bytes(body)
        aside.replace(path)


def not_modified(targets: Targets) -> dict[str, Target]:
    """The same requests by a client that has what it asks for."""
    conditional: dict[str, Target] = {}
    for name, target in targets.items():
        tag = fetch_ok(target.url, target.headers)[0]["etag"]
        headers = {**target.headers, "If-None-Match": tag}
        fetch_ok(target.url, headers, status=304)
        conditional[name] = Target(target.server, target.url, headers)
    return conditional


def _old_pages(bench: Bench, index: str) -> Iterator[Row]:
    """The old release beside ours: it fetches and renders every page anew."""
    assert bench.old is not None
    headers = {"Accept": JSON_TYPE, "Accept-Encoding": "identity"}
    with old_release(bench.old, bench.root, index) as old, ours(bench.root, index) as server:
        for size in ("small", "medium"):  # larger ones it does not answer in the time there is
            path = f"/simple/{size}/"
            targets = {
                "ours": Target(server, server.url + path, headers),
                OLD: Target(old, old.url + path, headers),
            }
            yield compared(bench, f"{size} page, json, against the old release", targets)


def redirect(bench: Bench) -> Iterator[Row]:
    """The way to a remote file, beside nginx's `return 302`."""
    with ours(bench.root, f"{bench.upstream_url}/json/") as server:
        url = f"{server.url}/resources/small/{file_of('small')}"
        targets = {"nginx": bench.static_file("redirect"), "ours": Target(server, url)}
        for target in targets.values():
            fetch_ok(target.url, status=302)
        yield compared(bench, "302 to a remote file", targets)


def connections(bench: Bench) -> Iterator[Row]:
    """The small page and a 304 on 1, 16 and 256 connections, kept alive and not."""
    with ours(bench.root, f"{bench.upstream_url}/json/") as server:
        page = page_targets(bench, server, "small")
        for what, targets in (("small page", page), ("304", not_modified(page))):
            for count in _CONNECTIONS:
                name = f"{what}, {count} connection{'s' if count > 1 else ''}"
                yield compared(bench, f"{name}, kept alive", targets, count)
                closing = {
                    server: Target(one.server, one.url, {**one.headers, **_CLOSE})
                    for server, one in targets.items()
                }
                yield compared(bench, f"{name}, a new one each", closing, count)


def workers(bench: Bench) -> Iterator[Row]:
    """Two workers against two of nginx's; one against one of each in the same run."""
    index, packages = f"{bench.upstream_url}/json/", str(bench.fixtures.packages)
    small = bench.fixtures.sized["74 kB"]
    bench.link(small)
    for count in (1, 2):
        with ExitStack() as stack:
            static = stack.enter_context(
                nginx(bench.root, bench.static, bench.fixtures.upstream, workers=count)
            )
            given = ("--workers", str(count))
            server = stack.enter_context(ours(bench.root, *given, index))
            files = stack.enter_context(ours(bench.root, *given, packages))
            there = bench.with_nginx(static)
            page = page_targets(there, server, "small")
            asked: dict[str, Targets] = {
                "small page": page,
                "medium page": page_targets(there, server, "medium"),
                "304": not_modified(page),
                "74 kB file": {
                    "nginx": there.static_file(small.path.name),
                    "ours": Target(files, files.url + small.target),
                },
            }
            for what, targets in asked.items():
                for clients in (16, 256):
                    name = (
                        f"{what}, {clients} connections, {count} worker{'s' if count > 1 else ''}"
                    )
                    yield compared(there, name, targets, clients)
