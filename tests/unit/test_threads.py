"""Work that goes to a thread when it is large."""

import threading

import pytest

from simple_repository_server.threads import in_thread_if

pytestmark = pytest.mark.anyio


def _work(number: int, *, factor: int) -> tuple[int, bool]:
    return number * factor, threading.current_thread() is threading.main_thread()


@pytest.mark.parametrize("is_large", [False, True])
async def test_only_large_work_leaves_the_event_loop(is_large: bool) -> None:
    """The result is the same; large work is done in another thread, small work at once."""
    assert await in_thread_if(is_large, _work, 6, factor=7) == (42, not is_large)


async def test_errors_of_the_work_are_raised() -> None:
    """Wherever the work is done, its exception reaches the caller."""
    for is_large in (False, True):
        with pytest.raises(ZeroDivisionError):
            await in_thread_if(is_large, divmod, 1, 0)
