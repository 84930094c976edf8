"""Our pages and lists as those of the library."""

import html
from collections.abc import Mapping
from datetime import UTC

from simple_repository import model

from simple_repository_server.adapters.from_library_pages import PROVENANCE
from simple_repository_server.model import File, ProjectList, ProjectPage

#: The private key of the sentence why a project is hidden.
HIDDEN = "_hidden"
#: From 1.1 on the library requires the size of every file (PEP 700).
_WITH_SIZES, _WITHOUT_SIZES = "1.1", "1.0"


def detail_of(page: ProjectPage) -> model.ProjectDetail:
    """The page. Status, serial and freshness are lost: the library has no field for them."""
    has_sizes = all(file.size is not None for file in page.files)
    return model.ProjectDetail(
        meta=model.Meta(_WITH_SIZES if has_sizes else _WITHOUT_SIZES),
        name=str(page.name),
        files=tuple(map(_file, page.files)),
        versions=frozenset(page.versions) if has_sizes else None,
        private_metadata=_private(page.private),
    )


def hidden_detail(project: str, reason: str) -> model.ProjectDetail:
    """The page of a hidden project: it has the project, and no files. `reason` may be ""."""
    return model.ProjectDetail(
        meta=model.Meta(_WITH_SIZES),
        name=project,
        files=(),
        private_metadata=_private({HIDDEN: reason} if reason else {}),
    )


def names_of(projects: ProjectList) -> model.ProjectList:
    """The list."""
    return model.ProjectList(
        meta=model.Meta(_WITH_SIZES),
        projects=frozenset(model.ProjectListElement(str(name)) for name in projects.names),
        private_metadata=_private(projects.private),
    )


def _file(file: File) -> model.File:
    metadata = file.core_metadata
    private = dict(file.private)
    if file.provenance is not None:
        private[PROVENANCE] = file.provenance
    moment = file.upload_time
    if moment is not None and moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return model.File(
        filename=str(file.filename),
        url=file.url,
        hashes=dict(file.hashes),
        requires_python=file.requires_python,
        dist_info_metadata=dict(metadata) if isinstance(metadata, Mapping) else metadata or None,
        gpg_sig=file.gpg_sig,
        # The library writes a reason into HTML as it is given.
        yanked=html.escape(file.yanked) if isinstance(file.yanked, str) else file.yanked or None,
        size=file.size,
        # The library's times are in UTC, without a zone.
        upload_time=moment,
        private_metadata=_private(private),
    )


def _private(keys: Mapping[str, object]) -> model.PrivateMetadataMapping:
    if not keys:
        return _NO_PRIVATE
    return model.PrivateMetadataMapping.from_any_mapping(keys)


_NO_PRIVATE = model.PrivateMetadataMapping()
