"""Measures Runicorn against its budgets and against the 0.4.0 way of doing the same: `python -m benchmarks --help`."""
