"""The bridge from events to Python's `logging`, for applications that have it set up."""

import logging

from simple_repository_server.observe.events import Emit, Event

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def log_to(logger: logging.Logger) -> Emit:
    """A function for `emit` that logs each event at its level, as the line a person reads.

    The record has the event itself as its attribute `event`, for formatters and filters. Handlers
    run where the event happens, often on the event loop: give slow ones a `QueueHandler`.
    """

    def emit(event: Event) -> None:
        level = _LEVELS[event.level]
        if logger.isEnabledFor(level):
            logger.log(level, "%s", event.text(), extra={"event": event})

    return emit
