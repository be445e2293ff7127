"""Runicorn's `runs` plugin."""
