"""Distribution files published at an `Upstream`, as a modern or an old index would."""

import json
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from typing import Any

from simple_repository_server.distributions.filenames import parse_distribution, versions_of
from simple_repository_server.distributions.metadata import requires_python
from simple_repository_server.names import ProjectName
from simple_repository_server.testing.distributions import Built
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.wire.urls import segment

JSON_TYPE = "application/vnd.pypi.simple.v1+json"


def publish_json(
    upstream: Upstream,
    files: Iterable[Built],
    *,
    metadata: bool = True,
    max_age: int | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Publish as an index of API version 1.4: JSON pages with sizes and upload times.

    `metadata`: whether `.metadata` files are published and announced; `max_age`: the lifetime of
    pages in seconds; `extra`: additional keys of each file.
    """
    headers = {"Content-Type": JSON_TYPE}
    if max_age is not None:
        headers["Cache-Control"] = f"max-age={max_age}"
    projects = _by_project(files)
    for project, built in projects.items():
        entries: list[dict[str, Any]] = []
        for one in built:
            entry: dict[str, Any] = {
                "filename": one.filename,
                "url": f"{upstream.url}{_publish_file(upstream, one, metadata=metadata)}",
                "hashes": {"sha256": one.sha256},
                "size": len(one.content),
                "upload-time": "2024-01-17T16:53:12.779164Z",
                "requires-python": requires_python(one.metadata),
                "yanked": False,
            }
            if metadata and one.filename.endswith(".whl"):
                entry["core-metadata"] = {"sha256": one.metadata_sha256}
            entries.append({**entry, **(extra or {})})
        page = {
            "meta": {"api-version": "1.4"},
            "name": project,
            "versions": list(versions_of((one.filename for one in built), project)),
            "files": entries,
        }
        body = json.dumps(page).encode()
        etag = f'"{sha256(body).hexdigest()}"'
        upstream.on(f"/simple/{project}/", Reply(headers=headers, body=body, etag=etag))
    names = [{"name": project} for project in projects]
    listing = json.dumps({"meta": {"api-version": "1.4"}, "projects": names}).encode()
    upstream.on("/simple/", Reply(headers=headers, body=listing))


def publish_html(
    upstream: Upstream, files: Iterable[Built], *, hashes: bool = True, ranges: bool = True
) -> None:
    """Publish as an old index: HTML with relative links, without sizes, times or metadata.

    `hashes`: whether links have digests; `ranges`: whether files can be requested in part.
    """
    headers = {"Content-Type": "text/html; charset=utf-8"}
    projects = _by_project(files)
    for project, built in projects.items():
        lines = ["<!DOCTYPE html><html><body>"]
        for one in built:
            path = _publish_file(upstream, one, metadata=False, ranges=ranges)
            fragment = f"#sha256={one.sha256}" if hashes else ""
            lines.append(f'<a href="../..{path}{fragment}">{escape(one.filename)}</a><br>')
        body = "\n".join([*lines, "</body></html>"]).encode()
        upstream.on(f"/simple/{project}/", Reply(headers=headers, body=body))
    anchors = "".join(f'<a href="{project}/">{project}</a>' for project in projects)
    upstream.on("/simple/", Reply(headers=headers, body=f"<html>{anchors}</html>".encode()))


def _publish_file(upstream: Upstream, built: Built, *, metadata: bool, ranges: bool = True) -> str:
    path = f"/files/{built.sha256[:2]}/{segment(built.filename)}"
    headers = {"Content-Type": "application/octet-stream"}
    upstream.on(path, Reply(headers=headers, body=built.content, ranges=ranges))
    if metadata and built.filename.endswith(".whl"):
        upstream.on(f"{path}.metadata", Reply(headers=headers, body=built.metadata))
    return path


def _by_project(files: Iterable[Built]) -> dict[ProjectName, list[Built]]:
    projects: dict[ProjectName, list[Built]] = {}
    for built in files:
        found = parse_distribution(built.filename)
        if found is None:
            raise ValueError(f"{built.filename} names no project")
        projects.setdefault(found.project, []).append(built)
    return projects
