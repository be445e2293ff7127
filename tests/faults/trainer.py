"""A training that says which steps `log()` has returned for: `trainer.py ROOT NAME ACKNOWLEDGED [STEPS]`."""

from __future__ import annotations

import os
import sys
import time

import runicorn as rn

root, name, acknowledged = sys.argv[1:4]
steps = int(sys.argv[4]) if len(sys.argv) > 4 else 1 << 60

run = rn.init("faults", root, name=name, capture_env=False)
print(run.id, flush=True)
descriptor = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for step in range(steps):
    rn.log({"value": step, "noise": step * 0.1}, step=step)
    os.write(descriptor, b"%d\n" % step)
    time.sleep(0.001)
rn.finish()
