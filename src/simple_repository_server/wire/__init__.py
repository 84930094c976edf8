"""Text to model and back, and which of them a client wants: pure functions."""
