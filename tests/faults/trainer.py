"""A training that says which steps `log()` has returned for: `trainer.py ROOT NAME [STEPS]`; it ends with its input, too."""

from __future__ import annotations

import os
import select
import sys
import time

import runicorn as rn

root, name = sys.argv[1:3]
steps = int(sys.argv[3]) if len(sys.argv) > 3 else 1 << 60

run = rn.init("faults", root, name=name, capture_env=False)
print(run.id, flush=True)
for step in range(steps):
    if select.select([0], [], [], 0)[0]:
        break
    rn.log({"value": step, "noise": step * 0.1}, step=step)
    os.write(1, b"%d\n" % step)  # a pipe: it takes what is said whatever becomes of the disk
    time.sleep(0.005)  # as fast as trainings are; a flood would only make what reads it all in the end slower
rn.finish()
