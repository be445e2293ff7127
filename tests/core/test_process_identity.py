from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import psutil
from msgspec.structs import replace

from runicorn import process_identity
from runicorn.process_identity import (
    ProcessIdentity,
    boot_id,
    has_ended,
    host_name,
    identity_of,
    own_identity,
    pid_namespace,
    start_ticks,
)


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


def test_a_process_lives_until_it_has_ended():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    recorded = identity_of(process.pid)
    assert recorded is not None
    only_the_id = ProcessIdentity(process.pid)
    for identity in (recorded, only_the_id):
        assert not has_ended(identity)
        assert not has_ended(identity, host=host_name())
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, but nobody has asked how: a zombie
    for identity in (recorded, only_the_id):
        assert has_ended(identity)
        assert not has_ended(identity, host="another-machine")
    process.communicate()
    assert has_ended(recorded)
    assert has_ended(only_the_id)


def test_an_id_that_was_given_to_a_later_process_is_not_the_recorded_one():
    own = own_identity()
    assert own.pid_start_ticks is not None
    assert own.pid_started_at is not None
    assert has_ended(replace(own, pid_start_ticks=own.pid_start_ticks - 1))
    assert has_ended(replace(own, pid_start_ticks=None, pid_started_at=own.pid_started_at - 120))
    assert not has_ended(replace(own, pid_start_ticks=None, pid_started_at=own.pid_started_at - 2))
    assert has_ended(ProcessIdentity(own.pid), known_at=own.pid_started_at - 120)
    assert not has_ended(ProcessIdentity(own.pid), known_at=own.pid_started_at + 120)


def test_a_process_of_an_earlier_boot_has_ended_and_one_of_another_namespace_cannot_be_judged():
    own = own_identity()
    assert own.pid_ns is not None
    booted_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    earlier = replace(own, boot_id="another", pid_started_at=booted_at - 3600)
    assert has_ended(earlier)
    assert has_ended(earlier, known_at=booted_at + 3600, seen_at=booted_at - 1800)
    assert has_ended(replace(earlier, pid_started_at=None), known_at=booted_at - 3600)
    assert not has_ended(replace(own, pid_ns=own.pid_ns + 1, pid_start_ticks=1))


def test_a_process_that_is_later_than_this_boot_lives_on_another_machine_of_the_same_name():
    booted_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    elsewhere = replace(own_identity(), boot_id="another")
    assert not has_ended(replace(elsewhere, pid_started_at=booted_at + 3600))
    assert not has_ended(replace(elsewhere, pid_started_at=None), known_at=booted_at + 3600)
    assert not has_ended(replace(elsewhere, pid_started_at=None))
    assert not has_ended(replace(elsewhere, pid_started_at=booted_at - 3600), seen_at=booted_at + 3600)


def test_an_id_that_cannot_be_one_is_not_judged():
    for pid in (0, -1, 1 << 31, 1 << 70):
        assert not has_ended(ProcessIdentity(pid))
