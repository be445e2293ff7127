"""Bringing runs of this machine to a storage root on another one."""
