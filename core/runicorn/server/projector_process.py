"""The projector process beside the server. Where another server has one already, this one reads only."""

from __future__ import annotations

import logging
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from runicorn.patience import BUILT_IN, Patience, last_call
from runicorn.server.child_process import ChildProcess

logger = logging.getLogger("runicorn.server")

_DEATHS = 3


class ProjectorProcess(ChildProcess):
    """The projector of one state directory.

    A plugin in whose code it ended is set aside until the server is started again: at once where the call did not return,
    and after the third time where it ended otherwise, which may be an accident.
    """

    def __init__(self, root: Path, state_dir: Path, arguments: Sequence[str] = ()) -> None:
        where = ["--root", str(root), "--state-dir", str(state_dir)]
        super().__init__("projector", "runicorn.projection", [*where, *arguments])
        self._state_dir = state_dir
        self._deaths: Counter[str] = Counter()

    def ended(self, status: int) -> bool:
        """Set a plugin aside, if it is to blame."""
        call = last_call(self._state_dir)
        if call is None or call.plugin in BUILT_IN:
            return False
        self._deaths[call.plugin] += 1
        if status == -signal.SIGALRM:
            reason = Patience().reason(call.what)
        elif self._deaths[call.plugin] >= _DEATHS:
            reason = f"the projector has died {_DEATHS} times in its {call.what}, with status {status}"
        else:
            return False
        logger.error("plugin %s is set aside until the server is started again: %s", call.plugin, reason)
        self.add_arguments("--set-aside", f"{call.plugin}={reason}")
        return True
