"""Parsing and serialising pages and lists, and content negotiation: pure functions."""
