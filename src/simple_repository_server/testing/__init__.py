"""Tools for testing components and servers: a scripted upstream, distributions, conformance checks.

They need no test framework and connect only to loopback.
"""

from simple_repository_server.testing import conformance
from simple_repository_server.testing.conformance import Known
from simple_repository_server.testing.distributions import Built, build_sdist, build_wheel
from simple_repository_server.testing.published import publish_html, publish_json
from simple_repository_server.testing.upstream import Reply, Request, Upstream

__all__ = [
    "Built",
    "Known",
    "Reply",
    "Request",
    "Upstream",
    "build_sdist",
    "build_wheel",
    "conformance",
    "publish_html",
    "publish_json",
]
