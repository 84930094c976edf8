"""Requests to other indexes: limits, credentials, connections, retries and errors."""
