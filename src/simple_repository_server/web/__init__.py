"""HTTP: from requests to repositories and back. The only package that knows ASGI and FastAPI."""
