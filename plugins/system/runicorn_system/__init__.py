"""Runicorn's `system` plugin."""
