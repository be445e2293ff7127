"""Work in the background of a training process."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_A_THREAD_FIRST = """
import threading
from runicorn.sdk.later import call_later

start, refused, done = threading.Thread.start, [], threading.Event()

def at_the_limit(thread):
    if not refused:
        refused.append(thread)
        raise RuntimeError("can't start new thread")
    start(thread)

threading.Thread.start = at_the_limit
call_later(0.0, lambda: print("first", flush=True))
call_later(0.0, lambda: (print("second", flush=True), done.set()))
assert done.wait(60)
"""


def test_what_found_no_thread_is_done_once_there_is_one():
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_THREAD_FIRST], capture_output=True, text=True, timeout=120, check=False
    )

    assert (ran.returncode, ran.stdout.split()) == (0, ["first", "second"]), ran.stderr
