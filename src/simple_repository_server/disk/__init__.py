"""How the cache lies on disk. When an entry may be used again: `cache/`."""
