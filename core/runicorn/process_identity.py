"""Which process is meant by a process id: ids are reused, after a reboot, by containers, and over time.

Linux tells it exactly (`/proc`, see proc(5)); elsewhere every part but the id is None. Light on purpose: the SDK reads
its own identity in the training process, and whoever judges later compares it with what has the id then.
"""

from __future__ import annotations

import os
import sys
import time

import msgspec

_CLOCK_MARGIN_S = 60.0  # clocks are set while a process runs; its start in ticks needs no margin


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process, told apart from all others of this machine and of its former boots."""

    pid: int
    pid_started_at: float | None = None
    """Start of the process in Unix seconds, as this machine's clock says now."""
    boot_id: str | None = None
    """Random id of this boot of the machine."""
    pid_start_ticks: int | None = None
    """Start of the process in clock ticks since boot; exact, and unmoved when the clock is set."""
    pid_ns: int | None = None
    """Inode of the PID namespace in which `pid` is meant."""


def own_identity() -> ProcessIdentity:
    """The identity of this process. Costs about 50 µs."""
    return _identity(os.getpid(), start_ticks(os.getpid()))


def identity_of(pid: int) -> ProcessIdentity | None:
    """The identity of another process in this namespace; None if there is none, or this system does not tell."""
    ticks = start_ticks(pid)
    return None if ticks is None else _identity(pid, ticks)


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone or this system does not tell."""
    stat = _read(f"/proc/{pid}/stat")
    if stat is None:
        return None
    # The second field is the command in parentheses and may contain anything; the start time is field 22.
    fields = stat.rpartition(b")")[2].split()
    return int(fields[19]) if len(fields) > 19 else None


def boot_id() -> str | None:
    """The random id of this boot."""
    text = _read("/proc/sys/kernel/random/boot_id")
    return text.decode("ascii", "replace").strip() or None if text is not None else None


def pid_namespace() -> int | None:
    """Inode of the PID namespace of this process."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def host_name() -> str:
    """The name of this machine, as `socket.gethostname()` gives it."""
    if sys.platform != "win32":
        return os.uname().nodename  # the same without importing socket, which costs 5 ms
    import socket

    return socket.gethostname()


def has_ended(
    recorded: ProcessIdentity, *, host: str | None = None, known_at: float | None = None, seen_at: float | None = None
) -> bool:
    """Whether a process that was recorded once has certainly ended; False also where that cannot be known.

    `host` is the name of the machine that recorded it (None: this one). `known_at` (Unix seconds) is when the process
    existed, for records without its start; `seen_at` is when it last did something. What has its id now is another one if
    it started at another time; one of another boot has ended with that if all of this was before ours. Costs about 100 µs.
    """
    if not 0 < recorded.pid < 1 << 31 or host not in (None, host_name()):
        return False
    here = boot_id(), pid_namespace()
    if None not in (recorded.boot_id, here[0]) and recorded.boot_id != here[0]:
        return _is_before_this_boot(known_at if recorded.pid_started_at is None else recorded.pid_started_at, seen_at)
    if None not in (recorded.pid_ns, here[1]) and recorded.pid_ns != here[1]:
        return False
    import psutil  # not for the SDK, which imports this module in the training process

    try:
        process = psutil.Process(recorded.pid)
        return process.status() == psutil.STATUS_ZOMBIE or _is_another(process.create_time(), recorded, known_at)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:  # not allowed to look: it lives
        return False


def _is_before_this_boot(known_at: float | None, seen_at: float | None) -> bool:
    """Whether what existed then was here before the machine was booted; else it is on another one of the same name."""
    if known_at is None or sys.platform == "win32" or not hasattr(time, "CLOCK_BOOTTIME"):
        return False
    booted_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return known_at < booted_at - _CLOCK_MARGIN_S and (seen_at is None or seen_at <= booted_at)


def _is_another(started_at: float, recorded: ProcessIdentity, known_at: float | None) -> bool:
    """Whether the process that has the id now, and started at that time, is not the recorded one."""
    ticks = start_ticks(recorded.pid)
    if recorded.pid_start_ticks is not None and ticks is not None:
        return ticks != recorded.pid_start_ticks
    if recorded.pid_started_at is not None:
        return abs(started_at - recorded.pid_started_at) > _CLOCK_MARGIN_S
    return known_at is not None and started_at > known_at + _CLOCK_MARGIN_S


def _identity(pid: int, ticks: int | None) -> ProcessIdentity:
    return ProcessIdentity(pid, _started_at(ticks), boot_id(), ticks, pid_namespace())


def _started_at(ticks: int | None) -> float | None:
    if ticks is None or sys.platform == "win32" or not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - since_boot + ticks / os.sysconf("SC_CLK_TCK")


def _read(path: str) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the process ended between the two calls
        return None
    finally:
        os.close(descriptor)
