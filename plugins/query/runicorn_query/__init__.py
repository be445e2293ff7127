"""Runicorn's `query` plugin."""
