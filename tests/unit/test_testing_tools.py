"""The tools that are for other people's tests, too: there under one name, and quiet."""

import logging
import socket
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from simple_repository_server import testing
from simple_repository_server.testing import Reply, Upstream, build_sdist, build_wheel, publish_json


def test_all_tools_are_in_one_place() -> None:
    """What the guide names is imported from the package itself."""
    assert {"Known", "Reply", "Upstream", "build_sdist", "build_wheel", "conformance"} <= {
        *testing.__all__
    }
    for name in testing.__all__:
        assert getattr(testing, name) is not None


def test_what_is_built_is_published() -> None:
    """Distributions made on the spot are at the scripted index, byte for byte, until it ends."""
    wheel, sdist = build_wheel("demo", "1.0"), build_sdist("demo", "1.0")
    with Upstream() as upstream:
        publish_json(upstream, [wheel, sdist])
        with urlopen(f"{upstream.url}/files/{wheel.sha256[:2]}/{wheel.filename}") as answer:
            assert answer.read() == wheel.content
        assert [request.method for request in upstream.requests] == ["GET"]
        port = urlsplit(upstream.url).port
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port or 0))


def test_it_ends_without_a_word_while_it_makes_someone_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A request that is not answered yet costs no traceback in another project's test run."""
    with caplog.at_level(logging.DEBUG), Upstream() as upstream:
        upstream.on("/slow", Reply(delay_s=600))
        address = ("127.0.0.1", urlsplit(upstream.url).port or 0)
        with socket.create_connection(address) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
            while not upstream.seen("/slow"):
                pass
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
