"""Tools for testing components and servers: a hostile upstream, fixtures, conformance suites."""
