"""Names: whatever comes in, what gets through is safe and normal."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name, is_normalized_name

from simple_repository_server.errors import InvalidName
from simple_repository_server.names import (
    FileName,
    PackedNames,
    ProjectName,
    merge_sorted,
    sorted_unique,
)
from tests.strategies import project_names


@given(st.text(max_size=300))
def test_project_name_is_normalised_or_rejected(text: str) -> None:
    """A text is rejected, or normalised as `packaging` does it, in ASCII."""
    try:
        name = ProjectName(text)
    except InvalidName:
        return
    assert str(name) == canonicalize_name(text)
    assert is_normalized_name(name)
    assert name.isascii()


@given(st.from_regex(r"([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9._-]{0,40}[A-Za-z0-9])", fullmatch=True))
def test_every_valid_project_name_is_accepted(text: str) -> None:
    """Every name that the specification allows is accepted; normalisation is idempotent."""
    name = ProjectName(text)
    assert ProjectName(name) == name
    assert str(name) == canonicalize_name(text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "-bad-", "a/b", "a\\b", "a b", "ſ", "KELVIN\u212a", "a\n", "ä", "a" * 256],
)
def test_invalid_project_names_are_rejected(text: str) -> None:
    """Names that only Unicode case folding would accept are rejected, too."""
    with pytest.raises(InvalidName):
        ProjectName(text)


@given(st.text(max_size=300))
def test_file_name_is_one_safe_path_segment(text: str) -> None:
    """An accepted file name is one visible path segment without control characters."""
    try:
        name = FileName(text)
    except InvalidName:
        return
    assert name == text
    assert not re.search(r"[\x00-\x1f\x7f/\\]", name)
    assert not name.startswith(".")
    name.encode()


@pytest.mark.parametrize(
    "text", ["", ".", "..", ".hidden", "a/b", "a\\b", "a\0b", "a\nb", "x" * 256]
)
def test_invalid_file_names_are_rejected(text: str) -> None:
    """A name that could leave its folder, or be hidden in it, is rejected."""
    with pytest.raises(InvalidName):
        FileName(text)


def test_metadata_name_and_file_name_convert() -> None:
    """`<file>.metadata` belongs to the file, and a file to itself."""
    name = FileName("a-1-py3-none-any.whl.metadata")
    assert name.is_metadata
    assert name.distribution == "a-1-py3-none-any.whl"
    assert name.distribution.distribution == "a-1-py3-none-any.whl"
    assert not name.distribution.is_metadata


@given(st.lists(st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True).map(ProjectName)))
def test_sorted_unique_sorts_and_drops_duplicates(names: list[ProjectName]) -> None:
    """The result is sorted and has each name once."""
    assert list(sorted_unique(names)) == sorted(set(names))


def test_more_names_than_one_batch_are_sorted() -> None:
    """Names of several batches are sorted across batches."""
    names = [ProjectName(f"p{number:x}") for number in range(50_000)]
    assert list(sorted_unique(reversed(names))) == sorted(names)


@given(st.lists(st.sets(project_names, max_size=8).map(sorted), max_size=4))
def test_sorted_lists_are_merged(lists: list[list[ProjectName]]) -> None:
    """The union of sorted lists is sorted and has each name once."""
    assert list(merge_sorted(lists)) == sorted(set().union(*lists))


def test_packed_names_are_a_sequence_of_names() -> None:
    """Packed names support indexing, slicing and iteration."""
    names = [ProjectName(f"p{number:06}") for number in range(12_345)]
    packed = sorted_unique(names)
    assert isinstance(packed, PackedNames)
    assert (len(packed), list(packed)) == (len(names), names)
    assert (packed[0], packed[777], packed[-1]) == (names[0], names[777], names[-1])
    assert list(packed[499:501]) == names[499:501]
    assert isinstance(packed[777], ProjectName)
    with pytest.raises(IndexError):
        packed[len(names)]
    assert packed.size < 10 * len(names)
