"""Versions that come over HTTP: declared by their digests, received in pieces that survive a restart, committed as a whole."""
