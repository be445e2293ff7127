from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import psutil

from runicorn import process_identity
from runicorn.process_identity import boot_id, host_name, identity_of, own_identity, pid_namespace, start_ticks


def test_our_own_identity_agrees_with_what_the_system_says():
    own = own_identity()
    assert own.pid == os.getpid()
    assert own.pid_started_at is not None
    assert abs(own.pid_started_at - psutil.Process().create_time()) < 2
    assert own.pid_started_at <= time.time()
    assert own.boot_id == boot_id()
    assert len(own.boot_id or "") == 36
    assert own.pid_ns == pid_namespace() == os.stat("/proc/self/ns/pid").st_ino


def test_another_process_is_told_apart_and_then_gone():
    # The command in /proc/<pid>/stat may contain spaces and parentheses.
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (', 0, 0, 0); print(flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    found = identity_of(process.pid)
    assert found is not None
    assert found.pid == process.pid
    own_ticks = own_identity().pid_start_ticks
    assert found.pid_start_ticks is not None
    assert own_ticks is not None
    assert found.pid_start_ticks >= own_ticks
    process.communicate()
    assert identity_of(process.pid) is None
    assert start_ticks(process.pid) is None


def test_the_identity_of_a_process_does_not_change():
    assert own_identity().pid_start_ticks == start_ticks(os.getpid())
    first, second = own_identity(), own_identity()
    assert abs((first.pid_started_at or 0) - (second.pid_started_at or 0)) < 1


def test_a_system_without_proc_tells_only_the_id(monkeypatch):
    monkeypatch.setattr(process_identity, "_read", lambda path: None)
    monkeypatch.setattr(process_identity, "pid_namespace", lambda: None)
    assert own_identity() == process_identity.ProcessIdentity(os.getpid())
    assert identity_of(1) is None


def test_the_host_name_is_that_of_the_socket_module():
    assert host_name() == socket.gethostname()
