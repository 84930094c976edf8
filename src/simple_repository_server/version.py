"""The version, in one place: the build reads it here, `--version` prints it."""

__version__ = "1.0.0.dev0"
