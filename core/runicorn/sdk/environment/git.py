"""The state of the git repository that holds the training code."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from runicorn.config import INTERNAL
from runicorn.sdk.environment.command import output_of
from runicorn.sdk.environment.remotes import without_credentials

_TIMEOUT_S = 5.0
_STATUS_TIMEOUT_S = 10.0  # looks at every file of the work tree

# Optional locks would make us a second writer of the user's index, a prompt would wait for ever.
_ENVIRONMENT = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def git_info(directory: Path) -> dict[str, Any] | None:
    """Commit, branch, changes and remote of the repository around `directory`; None outside of one, or without git.

    A part that git does not tell (no commit yet, no remote, too slow) is null. Changed are tracked files that differ
    from the commit and untracked ones that are not ignored, Runicorn's own storage aside. A detached HEAD is the
    branch `HEAD`. Credentials in the remote's address are removed.
    """
    git = functools.partial(_git, directory)
    if (inside := git("rev-parse", "--is-inside-work-tree")) is None or inside.strip() != "true":
        return None
    commit, author, message = _last_commit(git("log", "-1", "--no-show-signature", "--format=%H%x00%an%x00%s"))
    branch = git("symbolic-ref", "--short", "-q", "HEAD") or git("rev-parse", "--abbrev-ref", "HEAD")
    status = git("status", "--porcelain", "-z", "--ignore-submodules=dirty", timeout_s=_STATUS_TIMEOUT_S)
    changes = None if status is None else _changed_files(status)
    info: dict[str, Any] = {
        "commit": commit,
        "branch": branch.strip() if branch else None,
        "has_changes": None if changes is None else changes > 0,
    }
    if changes:
        info["changed_files_count"] = changes
    info["remote"] = _remote(git("config", "--null", "--get-regexp", r"^remote\..*\.url$"))
    info["last_commit_message"] = message
    info["last_commit_author"] = author
    return info


def _git(directory: Path, *arguments: str, timeout_s: float = _TIMEOUT_S) -> str | None:
    return output_of(
        ["git", "-c", "core.fsmonitor=false", *arguments], cwd=directory, env=_ENVIRONMENT, timeout_s=timeout_s
    )


def _last_commit(log: str | None) -> tuple[str | None, str | None, str | None]:
    """Hash, author and subject line."""
    parts = (log or "").rstrip("\n").split("\0")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (None, None, None)


def _changed_files(status: str) -> int:
    """Number of changed files in `git status --porcelain -z`: `XY path`, for renames followed by the former path."""
    count = 0
    entries = iter(status.split("\0"))
    for entry in entries:
        if entry[:1] in ("R", "C") or entry[1:2] in ("R", "C"):
            next(entries, None)
        elif entry.startswith("?? ") and INTERNAL in entry[3:].split("/"):
            continue
        count += bool(entry)
    return count


def _remote(config: str | None) -> str | None:
    """The address of `origin`, else of the first remote, from `key LF value NUL` entries."""
    entries = (entry.partition("\n") for entry in (config or "").split("\0") if entry)
    remotes = {key: url for key, _, url in reversed(list(entries))}
    url = remotes.get("remote.origin.url") or next(reversed(remotes.values()), None)
    return without_credentials(url) if url else None
