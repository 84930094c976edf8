"""Repositories around another one, each changing one thing."""
