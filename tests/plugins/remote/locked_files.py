"""A server that forbids a directory to everybody: a real one forbids nothing to root, as whom tests may run."""

from __future__ import annotations

from typing import Any

import paramiko
from paramiko.sftp import SFTP_PERMISSION_DENIED

HOME = "/home/me"


class LockedFiles(paramiko.SFTPServerInterface):
    """Every path is a directory, and the entries of `locked` in the home directory are nobody's business."""

    def canonicalize(self, path: str) -> str:
        return HOME if path == "." else path

    def stat(self, path: str) -> Any:
        attributes = paramiko.SFTPAttributes()
        attributes.st_mode = 0o040755
        return attributes

    lstat = stat

    def list_folder(self, path: str) -> Any:
        return SFTP_PERMISSION_DENIED if path == f"{HOME}/locked" else []
