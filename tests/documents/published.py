"""What the stand-ins for other people's indexes publish: files with the time of each upload."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from simple_repository_server.distributions.filenames import parse_distribution, versions_of
from simple_repository_server.names import ProjectName
from simple_repository_server.testing.distributions import Built, build_sdist, build_wheel
from simple_repository_server.testing.published import JSON_TYPE
from simple_repository_server.testing.upstream import Reply, Request, Upstream

_CONTENT = {"Content-Type": "application/octet-stream"}
#: Stated by each index, so that what the tests see does not depend on heuristics.
_PAGE = {"Content-Type": JSON_TYPE, "Cache-Control": "max-age=600"}


class Published(msgspec.Struct, frozen=True):
    """A file as an index lists it; `uploaded` None: the index does not say when."""

    built: Built
    uploaded: datetime | None
    yanked: bool | str = False


def on(day: str) -> datetime:
    """A day, at 12:00 UTC."""
    return datetime.fromisoformat(f"{day}T12:00:00+00:00")


def days_ago(count: float) -> datetime:
    """So many days before now."""
    return datetime.now(UTC) - timedelta(days=count)


def publish(
    upstream: Upstream,
    files: Iterable[Published],
    *,
    root: str = "/simple/",
    user: tuple[str, str] | None = None,
) -> None:
    """Publish the files below `root`, with relative links, as JSON of version 1.4.

    With `user`, a name and a password, all others get 401.
    """
    guarded = _Guarded(upstream, user)
    projects: dict[str, list[Published]] = {}
    for one in files:
        found = parse_distribution(one.built.filename)
        assert found is not None
        projects.setdefault(found.project, []).append(one)
    for project, published in projects.items():
        page = {
            "meta": {"api-version": "1.4"},
            "name": project,
            "versions": list(
                versions_of([p.built.filename for p in published], ProjectName(project))
            ),
            "files": [_entry(guarded, root, one) for one in published],
        }
        guarded.on(f"{root}{project}/", Reply(headers=_PAGE, body=json.dumps(page).encode()))
    listing = {"meta": {"api-version": "1.4"}, "projects": [{"name": name} for name in projects]}
    guarded.on(root, Reply(headers=_PAGE, body=json.dumps(listing).encode()))


class _Guarded:
    """Puts scripts on another upstream that answer one user only."""

    def __init__(self, upstream: Upstream, user: tuple[str, str] | None) -> None:
        self._upstream = upstream
        self._expected = None
        if user is not None:
            self._expected = f"Basic {b64encode(':'.join(user).encode()).decode()}"

    def on(self, target: str, reply: Reply) -> None:
        """The reply for that user, 401 for all others."""
        if self._expected is None:
            self._upstream.on(target, reply)
            return

        def answer(request: Request) -> Reply:
            given = request.headers.get("authorization")
            return reply if given == self._expected else Reply(status=401)

        self._upstream.on(target, answer)


def _entry(guarded: _Guarded, root: str, one: Published) -> Mapping[str, Any]:
    built = one.built
    path = f"{root}files/{built.sha256[:8]}/{built.filename}"
    guarded.on(path, Reply(headers=_CONTENT, body=built.content, ranges=True))
    entry: dict[str, Any] = {
        "filename": built.filename,
        "url": f"../files/{built.sha256[:8]}/{built.filename}",
        "hashes": {"sha256": built.sha256},
        "size": len(built.content),
        "requires-python": ">=3.8",
        "yanked": one.yanked,
    }
    if built.filename.endswith(".whl"):
        guarded.on(f"{path}.metadata", Reply(headers=_CONTENT, body=built.metadata))
        entry["core-metadata"] = {"sha256": built.metadata_sha256}
    if one.uploaded is not None:
        entry["upload-time"] = f"{one.uploaded:%Y-%m-%dT%H:%M:%S.%f}Z"
    return entry


def public_files() -> list[Published]:
    """The files of the table in `docs/rules/README.md`: what the stand-in for PyPI has."""
    linux, windows = "cp312-cp312-manylinux_2_28_x86_64", "cp312-cp312-win_amd64"
    return [
        *_both("requests", "2.31.0", on("2023-05-22")),
        *_both("requests", "2.32.3", on("2024-05-29")),
        *_both("requests", "2.33.0", days_ago(2)),
        Published(build_wheel("urllib3", "2.6.0"), days_ago(30)),
        Published(build_wheel("urllib3", "2.6.1"), days_ago(1)),
        Published(build_wheel("numpy", "2.1.0", tag=linux), on("2024-08-18")),
        Published(build_wheel("numpy", "2.1.0", tag=windows), on("2024-08-18")),
        Published(build_sdist("numpy", "2.1.0"), on("2024-08-18")),
        Published(build_wheel("numpy", "2.2.0rc1", tag=linux), on("2024-12-01")),
        Published(build_wheel("idna", "3.5"), on("2023-11-24"), yanked="broken upload"),
        Published(build_wheel("idna", "3.6"), on("2023-11-25")),
        Published(build_wheel("leftpad", "1.0"), on("2020-03-01")),
        Published(build_wheel("reqeusts", "1.0"), on("2024-07-01")),
        Published(build_wheel("corp-tools", "99.0"), on("2024-07-01")),
        Published(build_wheel("labdata", "1.0"), None),
    ]


def _both(name: str, version: str, uploaded: datetime) -> list[Published]:
    """A wheel and an sdist."""
    built = (build_wheel(name, version), build_sdist(name, version))
    return [Published(one, uploaded) for one in built]


#: Advisories in the OSV format, by identifier.
ADVISORIES: Mapping[str, Mapping[str, Any]] = {
    "GHSA-aaaa-bbbb-cccc": {
        "modified": "2025-12-06T00:00:00Z",
        "summary": "Compressed data is expanded without a limit.",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "urllib3"},
                "ranges": [
                    {
                        "type": "ECOSYSTEM",
                        "events": [{"introduced": "1.0"}, {"fixed": "2.6.1"}],
                    }
                ],
            }
        ],
    },
    "MAL-2024-0001": {
        "modified": "2024-07-02T00:00:00Z",
        "summary": "The project steals credentials.",
        "affected": [
            {"package": {"ecosystem": "PyPI", "name": "reqeusts"}, "versions": ["1.0"]},
        ],
    },
}
