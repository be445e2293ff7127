"""Curves of metrics, made small enough to be drawn: reading from levels, choosing rows, smoothing, formats."""
