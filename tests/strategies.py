"""Hypothesis strategies for pages and their parts, hostile text included."""

import string
from datetime import UTC, datetime

from hypothesis import strategies as st

from simple_repository_server.distributions.filenames import versions_of
from simple_repository_server.model import File, ProjectPage, ProjectStatus, Status
from simple_repository_server.names import FileName, ProjectName

_WORD = string.ascii_lowercase + string.digits

project_names = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,5}){0,2}", fullmatch=True).map(
    ProjectName
)
#: For names, reasons and specifiers: markup, quotes, any script, anything printable.
hostile_text = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from("<>&\"'/;#?%+"),
    min_size=1,
    max_size=30,
)
hexdigests = st.binary(min_size=32, max_size=32).map(bytes.hex)
hashes = st.fixed_dictionaries({"sha256": hexdigests})
moments = st.datetimes(
    min_value=datetime(1990, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)
)
versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}(\+[a-z0-9]{1,4})?", fullmatch=True)
urls = st.text(_WORD + "-._~%+", min_size=1, max_size=20).map(
    lambda path: f"https://files.example/{path}"
)


@st.composite
def files(draw: st.DrawFn, project: ProjectName) -> File:
    """A wheel or sdist of the project, with every field."""
    stem = f"{project.replace('-', '_')}-{draw(versions)}"
    suffix = draw(st.sampled_from(("-py3-none-any.whl", "-cp311-abi3-linux_x86_64.whl", ".tar.gz")))
    return File(
        filename=FileName(stem + suffix),
        url=draw(urls),
        hashes=draw(hashes | st.just({})),
        size=draw(st.integers(0, 2**40)),
        upload_time=draw(st.none() | moments),
        requires_python=draw(st.none() | hostile_text.map(str.strip).filter(bool)),
        core_metadata=draw(st.booleans() | hashes),
        yanked=draw(st.booleans() | hostile_text),
        gpg_sig=draw(st.none() | st.booleans()),
        provenance=draw(st.none() | urls),
    )


@st.composite
def pages(draw: st.DrawFn) -> ProjectPage:
    """A project's page with up to six files."""
    project = draw(project_names)
    unique = {file.filename: file for file in draw(st.lists(files(project), max_size=6))}
    status = draw(
        st.none() | st.builds(ProjectStatus, st.sampled_from(Status), st.none() | hostile_text)
    )
    return ProjectPage(
        name=project,
        files=tuple(unique.values()),
        versions=versions_of(unique, project),
        status=status,
        serial=draw(st.none() | st.integers(0, 2**40)),
    )
