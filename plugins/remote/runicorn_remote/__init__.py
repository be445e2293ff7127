"""Runicorn's `remote` plugin."""
