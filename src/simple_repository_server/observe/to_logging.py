"""Events to Python's `logging`, for applications that use it."""

import logging

from simple_repository_server.observe.events import Emit, Event

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def log_to(logger: logging.Logger) -> Emit:
    """A function for `emit` that logs the text of each event at its level.

    The record has the event as its attribute `event`, for formatters and filters. Handlers run
    where the event happens, often on the event loop: put a `QueueHandler` before slow ones.
    """

    def emit(event: Event) -> None:
        level = _LEVELS[event.level]
        if logger.isEnabledFor(level):
            logger.log(level, "%s", event.text(), extra={"event": event})

    return emit
