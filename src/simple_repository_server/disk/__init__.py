"""Where things are kept across restarts."""
