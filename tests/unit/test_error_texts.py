"""Texts of errors: one form for failed system calls, and nothing a terminal would act on."""

import pytest

from simple_repository_server.disk.allowance import OverBudget
from simple_repository_server.errors import os_reason
from simple_repository_server.observe.terminal import printable


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "no space left on device"),
        (FileNotFoundError(2, "No such file or directory", "/x"), "no such file or directory"),
        (OverBudget("it is larger than 10.0 MB"), "it is larger than 10.0 MB"),
        (OSError("Odd"), "odd"),
        (OSError(), "unknown error"),
    ],
)
def test_the_reason_of_a_failed_call_stands_inside_a_sentence(error: OSError, reason: str) -> None:
    """It begins in lower case, without number and path; units and names keep their case."""
    assert os_reason(error) == reason


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é", "plain é"), ("a\nb\x1b[31m", "a�b�[31m"), ("\udcff", "�"), (OSError("x"), "x")],
)
def test_texts_are_safe_for_a_terminal(text: object, shown: str) -> None:
    """Control characters, escape sequences and undecodable bytes are replaced."""
    assert printable(text) == shown
