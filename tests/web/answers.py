"""Answers as strict clients read them: one whole answer behind the other, and nothing between."""

import re
from collections.abc import Sequence

from tests.web.lane import Answer

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Za-z ]+\r\n((?:[A-Za-z0-9-]+: [^\r\n]*\r\n)+)\r\n")
_CHUNK = re.compile(rb"([0-9a-f]+)\r\n")


def parse_answers(data: bytes, methods: Sequence[bytes] = ()) -> list[Answer]:
    """All answers in `data`, to requests of these methods, then GET; fails for all but them."""
    answers: list[Answer] = []
    at = 0
    while at < len(data):
        found = _HEAD.match(data, at)
        assert found, f"no head at {at}, behind {len(answers)} answers: {data[at : at + 200]!r}"
        lines = found[2].split(b"\r\n")[:-1]
        headers = [(name.lower(), value) for name, _, value in (x.partition(b": ") for x in lines)]
        status = int(found[1])
        number = len(answers)
        is_head = number < len(methods) and methods[number] == b"HEAD"
        at = found.end()
        body = b""
        if not is_head and status not in {204, 304}:
            body, at = _body(data, at, dict(headers))
        answers.append(Answer(status, headers, body))
    return answers


def _body(data: bytes, at: int, headers: dict[bytes, bytes]) -> tuple[bytes, int]:
    if b"content-length" in headers:
        end = at + int(headers[b"content-length"])
        assert end <= len(data), "the answer is not complete"
        return data[at:end], end
    assert headers.get(b"transfer-encoding") == b"chunked"
    body = b""
    while True:
        found = _CHUNK.match(data, at)
        assert found, "no chunk"
        at = found.end()
        size = int(found[1], 16)
        body += data[at : at + size]
        assert data[at + size : at + size + 2] == b"\r\n"
        at += size + 2
        if not size:
            return body, at
