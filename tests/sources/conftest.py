"""What the tests of sources share."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture
def _unprivileged() -> Iterator[None]:
    """Not root, to whom nothing is closed."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)
