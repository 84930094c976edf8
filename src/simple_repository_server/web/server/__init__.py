"""What of our own runs inside Uvicorn: the fast lane, sending files, limits of connections."""
