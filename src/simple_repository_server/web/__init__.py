"""HTTP: from requests to repositories and back. The only place that knows ASGI and FastAPI."""
