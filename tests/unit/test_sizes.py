"""Sizes in bytes: what is parsed and what is shown are one system."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.observe.sizes import parse_size, shown_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("10", 10), ("10B", 10), ("10 b", 10), ("1kB", 1000), ("1k", 1000), ("1KB", 1000),
        ("1.5MB", 1_500_000), ("10GB", 10**10), ("2 TB", 2 * 10**12), ("1KiB", 1024),
        ("512 MiB", 2**29), ("1.5 gib", 3 * 2**29), (" 1GB ", 10**9), ("0.1TB", 10**11),
    ],
)  # fmt: skip
def test_sizes_are_parsed(text: str, size: int) -> None:
    """Units are powers of 1000, with an `i` of 1024; without one it is bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "GB", "ten", "-1", "+1", "1e3", "1,5GB", "1PB", "1 0", "1ib", "1 i", "1.", ".5", "١",
     "nan", "1_000", "1\n2", "9" * 25, "9" * 5000, "1000000000TB", "1GBGB"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    """Other texts, and sizes larger than any disk, raise an error."""
    with pytest.raises(ValueError, match=r"^is "):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
     (10**10, "10.0 GB"), (256_000_000, "256.0 MB"), (10**16, "10000.0 TB")],
)  # fmt: skip
def test_sizes_are_shown(size: int, shown: str) -> None:
    """With one decimal in the largest unit that fits."""
    assert shown_size(size) == shown


@given(st.integers(0, 2**59))
def test_shown_sizes_can_be_parsed(size: int) -> None:
    """To the same size, but for rounding."""
    assert abs(parse_size(shown_size(size)) - size) <= size * 0.05
