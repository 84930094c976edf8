"""Talking to other indexes: requests, limits, credentials, and what their answers mean."""
