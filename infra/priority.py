"""Who comes first where processes share cores: those that score.

On Linux niceness counts within a session, for the kernel shares the cores out among sessions first (autogroups,
sched(7)), and each server of the local stack has a session of its own. So the session is given it, too.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path


def behind(niceness: int, command: Sequence[str]) -> list[str]:
    """The command, for a process that is to come behind others; give its session the same."""
    return ["nice", "-n", str(niceness), *command]


def put_session_behind(pid: int, niceness: int) -> None:
    """Let the session that `pid` leads come behind others; a system that has no such groups needs no more than nice."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


def step_behind(niceness: int) -> None:
    """Let this process come behind others, and its session if it leads one: a terminal's is not ours."""
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        put_session_behind(os.getpid(), niceness)
