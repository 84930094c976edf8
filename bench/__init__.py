"""The published benchmark; see README.md."""
