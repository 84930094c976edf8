"""The tools that are for other people's tests, too: there under one name, and quiet."""

import logging
import socket
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from simple_repository_server import testing
from simple_repository_server.testing import Reply, Upstream, build_sdist, build_wheel, publish_json


def test_tools_are_imported_from_one_package() -> None:
    """The names in the guide are imported from `simple_repository_server.testing`."""
    assert {"Known", "Reply", "Upstream", "build_sdist", "build_wheel", "conformance"} <= {
        *testing.__all__
    }
    for name in testing.__all__:
        assert getattr(testing, name) is not None


def test_built_distributions_are_published_until_the_server_ends() -> None:
    """The scripted index serves built distributions byte for byte until it ends."""
    wheel, sdist = build_wheel("demo", "1.0"), build_sdist("demo", "1.0")
    with Upstream() as upstream:
        publish_json(upstream, [wheel, sdist])
        with urlopen(f"{upstream.url}/files/{wheel.sha256[:2]}/{wheel.filename}") as answer:
            assert answer.read() == wheel.content
        assert [request.method for request in upstream.requests] == ["GET"]
        port = urlsplit(upstream.url).port
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port or 0))


def test_upstream_ends_silently_during_a_delayed_response(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A pending request causes no traceback in the tests of other projects."""
    with caplog.at_level(logging.DEBUG), Upstream() as upstream:
        upstream.on("/slow", Reply(delay_s=600))
        address = ("127.0.0.1", urlsplit(upstream.url).port or 0)
        with socket.create_connection(address) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
            while not upstream.seen("/slow"):
                pass
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
