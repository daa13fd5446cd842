"""Who comes first where processes share cores: those that score.

Linux shares the cores out among sessions first (autogroups, sched(7)). What is set here counts within a session,
so what shares cores has to be started in one.
"""

import logging
import os
from collections.abc import Sequence

import psutil

logger = logging.getLogger(__name__)


def behind(niceness: int, command: Sequence[str]) -> list[str]:
    """The command, for a process that is to come behind others."""
    return ["nice", "-n", str(niceness), *command]


def give_way() -> None:
    """Let this process, all its threads and what it starts, have what the others leave over.

    A thread that wakes up takes the core from it at once. One that is merely nice keeps the core for some ms first, and
    one scored transaction is a dozen threads that wake each other.
    """
    if not hasattr(os, "SCHED_IDLE"):  # not Linux
        os.nice(19)
        return
    for thread in psutil.Process().threads():  # libraries start some when they are imported
        try:
            os.sched_setscheduler(thread.id, os.SCHED_IDLE, os.sched_param(0))
        except ProcessLookupError:  # it ended meanwhile
            continue
        except PermissionError as error:  # a sandbox may forbid it
            logger.warning("cannot give way to other processes: %s", error)
            return
