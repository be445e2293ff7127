"""Two versions: that of this distribution, and that of the HTTP API which it serves."""

__version__ = "0.5.0"

API_VERSION = "0.4.0"
"""The published API; clients compare it, so it changes only with the contract."""
