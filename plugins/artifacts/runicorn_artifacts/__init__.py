"""Runicorn's `artifacts` plugin."""
