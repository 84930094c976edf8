"""Numbers of bytes: what is read and what is shown are one system."""

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
def test_a_size(text: str, size: int) -> None:
    """Units are powers of 1000, with an `i` of 1024; without one it is bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "GB", "-1", "+1", "1e3", "1,5GB", "1PB", "1 0", "1ib", "1 i", "1.", ".5", "١", "nan",
     "1_000", "1\n2", "9" * 25, "9" * 5000, "1000000000TB",
     "1GBGB"],
)  # fmt: skip
def test_what_is_no_size(text: str) -> None:
    """Anything else is refused, and what is more than any disk has."""
    with pytest.raises(ValueError, match=r"^is "):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
     (10**10, "10.0 GB"), (256_000_000, "256.0 MB"), (10**16, "10000.0 TB")],
)  # fmt: skip
def test_a_size_is_shown(size: int, shown: str) -> None:
    """With one decimal in the largest unit of which there is one."""
    assert shown_size(size) == shown


@given(st.integers(0, 2**59))
def test_what_is_shown_can_be_read(size: int) -> None:
    """What is shown is, as an option, the same size again, but for what was rounded."""
    assert abs(parse_size(shown_size(size)) - size) <= size * 0.05
