"""Runicorn: local-first experiment tracking."""

from runicorn.version import __version__

__all__ = ["__version__"]
