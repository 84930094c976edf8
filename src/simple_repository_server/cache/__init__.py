"""Remembering: what is fresh, what fits into memory, and who fetches it."""
