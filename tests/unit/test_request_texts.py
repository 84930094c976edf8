"""Lines of requests, whose parts are remembered."""

from hypothesis import given
from hypothesis import strategies as st

from simple_repository_server.observe.events import RequestFinished
from simple_repository_server.observe.logs import RequestTexts
from simple_repository_server.observe.terminal import printable

_TEXTS = st.sampled_from(["", "a b", "pip/26.3 {x}", "\x1b[31m\r\n", "ü\u2028", "fresh", "offline"])
_EVENTS = st.builds(
    RequestFinished,
    method=_TEXTS,
    path=_TEXTS,
    status=st.sampled_from([0, 200]),
    bytes=st.sampled_from([0, 1_500]),
    duration_ms=st.sampled_from([0.04, 12.0, 1e9]),
    client=_TEXTS,
    user_agent=_TEXTS,
    cache=_TEXTS,
    error=_TEXTS,
)


@given(st.lists(_EVENTS, max_size=30))
def test_remembered_parts_make_the_same_line(events: list[RequestFinished]) -> None:
    """Whatever requests came before, the line is the printable text of the event."""
    texts = RequestTexts()
    for event in [*events, *events]:
        assert texts(event) == printable(event.text())
