"""How much may still be written to a cache: the decision as a table, and reservations."""

import gc
import sys
import threading
from pathlib import Path

import pytest

from simple_repository_server.disk.allowance import (
    Allowance,
    BudgetUse,
    OverBudget,
    free_for_cache,
    refusal,
)
from simple_repository_server.disk.partial import PartialFile

MB = 1_000_000


@pytest.mark.parametrize(
    ("stored", "in_flight", "free", "more", "strict", "reason"),
    [
        (0, 0, sys.maxsize, 5 * MB, True, ""),
        (0, 0, sys.maxsize, 5 * MB + 1, False, "larger than half"),
        (0, 3 * MB, sys.maxsize, 2 * MB, True, ""),
        (0, 3 * MB, sys.maxsize, 2 * MB + 1, False, "being written exceed"),
        (9 * MB, 0, sys.maxsize, MB, True, ""),
        (9 * MB, 0, sys.maxsize, MB + 1, True, "of 10.0 MB is used up"),
        (9 * MB, 0, sys.maxsize, MB + 1, False, ""),
        (13 * MB, 0, sys.maxsize, MB // 3, False, ""),
        (13 * MB, 0, sys.maxsize, MB // 3 + 1, False, "of 10.0 MB is used up"),
        (0, 0, MB, MB, True, ""),
        (0, 0, MB, MB + 1, False, "No space left"),
    ],
)
def test_budget_in_flight_and_free_space_limit_writes(
    stored: int, in_flight: int, free: int, more: int, strict: bool, reason: str
) -> None:
    """Up to half in flight, a third over the budget for a while, and what the disk has."""
    use = BudgetUse(stored=stored, in_flight=in_flight, free=free)
    found = refusal(use, more, max_bytes=10 * MB, strict=strict)
    assert (found is None) == (not reason)
    assert reason in str(found)
    assert isinstance(found, OverBudget) == bool(reason and "space" not in reason)


@pytest.fixture
def allowance(tmp_path: Path) -> Allowance:
    """A budget of 1 MB, of which nothing is used."""
    return Allowance(tmp_path, tmp_path / "partial", MB)


def test_a_file_gives_back_what_it_reserved(allowance: Allowance, tmp_path: Path) -> None:
    """However it ends: abandoned, committed, or refused at its beginning."""
    for ending in ("abandoned", "committed"):
        file = PartialFile(tmp_path / "partial")
        file.reserve(allowance, 300_000)
        file.append([bytes(1000)])
        assert allowance.in_flight() == 300_000
        if ending == "committed":
            file.commit(tmp_path / "files" / "x")
            assert allowance.in_flight() == 0, "before it is closed"
        file.close()
        assert allowance.in_flight() == 0
    with pytest.raises(OverBudget):
        PartialFile(tmp_path / "partial").reserve(allowance, 600_000)
    assert allowance.in_flight() == 0
    assert not list((tmp_path / "partial").iterdir())
    allowance.reserve(500_000, strict=True).end()
    allowance.set_stored(MB)
    with pytest.raises(OverBudget):
        allowance.reserve(1, strict=True)


def test_partial_files_of_other_processes_count(allowance: Allowance, tmp_path: Path) -> None:
    """They take of what may be in flight; our own are not counted twice."""
    own = PartialFile(tmp_path / "partial")
    own.reserve(allowance, 200_000)
    own.append([bytes(100_000)])
    other = tmp_path / "partial" / "other.partial"
    other.write_bytes(bytes(100_000))
    assert allowance.in_flight() == 300_000
    with pytest.raises(OverBudget, match="being written exceed"):
        allowance.reserve(200_001)
    allowance.reserve(200_000).end()
    own.close()


def test_a_growing_file_is_refused_before_it_is_too_large(
    allowance: Allowance, tmp_path: Path
) -> None:
    """A file of unknown size reserves its bytes as it grows."""
    file = PartialFile(tmp_path / "partial")
    file.reserve(allowance, 0)
    with pytest.raises(OverBudget):
        for _ in range(100):
            file.append([bytes(30_000)])
    assert file.path.stat().st_size == 480_000
    file.close()


def test_a_part_of_the_disk_stays_free(tmp_path: Path) -> None:
    """Not all that is free may be taken."""
    import shutil

    free = shutil.disk_usage(tmp_path).free
    assert free_for_cache(tmp_path) < free or free_for_cache(tmp_path) == 0


def test_a_file_may_be_garbage_collected_during_a_reservation(tmp_path: Path) -> None:
    """Also in the thread that reserves: it does not wait for itself."""

    class Collecting(type(tmp_path)):  # type: ignore[misc]  # of the system's kind of path
        def __fspath__(self) -> str:
            gc.collect()
            return str(super().__fspath__())

    allowance = Allowance(tmp_path, Collecting(tmp_path / "partial"), MB)
    file: PartialFile | None = PartialFile(tmp_path / "partial")
    assert file is not None
    file.reserve(allowance, 300_000)
    circle: list[object] = [file]
    circle.append(circle)
    del file, circle
    asking = threading.Thread(target=lambda: allowance.reserve(1).end(), daemon=True)
    asking.start()
    asking.join(20)
    assert not asking.is_alive()
    assert allowance.in_flight() == 0
