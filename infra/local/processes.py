"""Processes of the local stack: started apart from us, known again later, and stopped for certain.

A process is known by its pid together with the moment it was created, because the kernel gives a dead
process's pid to the next comer. Everything started here, and whatever it starts in turn, also carries the
stack's home in its environment: that is how a process is found whose record was lost.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra import priority
from infra.errors import TerminalError, TransientError

MARKER = "FRAUDFLOW_STACK_HOME"

_POLL_SECONDS = 0.05
_KILL_SECONDS = 10
_LOG_LINES = 20
# A clock that is set right moves the creation times that the kernel reports, all by the same little.
_CREATED_TOLERANCE_SECONDS = 2.0

# An interpreter that drops the handle of a running child complains of it, and reaps the child never.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Started:
    """A process of the stack, as `stack.json` records it."""

    name: str
    pid: int
    created: float
    address: str
    log: str


def spawn(
    name: str,
    command: Sequence[str],
    *,
    home: Path,
    address: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    niceness: int = 0,
) -> Started:
    """Start a process in a group of its own, so that Ctrl-C at our terminal leaves it alone.

    It stays in our session, or it could not come behind the others there; see `infra.priority`.
    """
    log = home / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                priority.behind(niceness, command) if niceness else command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**(os.environ if env is None else env), MARKER: str(home)},
                cwd=cwd or home,
                process_group=0,
            )
        except OSError as error:
            raise TerminalError(f"cannot start {name} ({command[0]}): {error}") from error
    _children[process.pid] = process
    try:
        created = psutil.Process(process.pid).create_time()
    except psutil.NoSuchProcess:
        created = 0.0
    return Started(name, process.pid, created, address, str(log))


def run(
    command: Sequence[str], *, home: Path, env: Mapping[str, str], seconds: float, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short command to its end; one that outlives us is found as a process of the stack.

    Raises:
        subprocess.TimeoutExpired: it was stopped after so many seconds.
    """
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**env, MARKER: str(home)},
        cwd=cwd or home,
        timeout=seconds,
        check=False,
    )


def python(*arguments: str) -> list[str]:
    """A command that runs this Python with SIGINT at its default.

    A shell's `&` leaves SIGINT ignored, children inherit that, and Prefect turns SIGTERM into SIGINT:
    such a worker can only be killed.
    """
    restore = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    return [sys.executable, "-c", restore, *arguments]


def find(started: Started, home: Path) -> psutil.Process | None:
    """The running process of that record; None if it is gone, be its pid in use again or not."""
    child = _children.get(started.pid)
    if child is not None and child.poll() is not None:
        _children.pop(started.pid, None)
    try:
        process = psutil.Process(started.pid)
        if abs(process.create_time() - started.created) > _CREATED_TOLERANCE_SECONDS:
            return None
        # A process has no environment in the moment after its start, and Java's launcher starts itself twice.
        environment = process.environ() or {MARKER: str(home)}
        if process.status() == psutil.STATUS_ZOMBIE or environment.get(MARKER) != str(home):
            return None
    except psutil.Error:
        return None
    return process


def marked(home: Path) -> list[psutil.Process]:
    """Every process that descends from this stack, recorded or not; never the caller or its parents."""
    mine = psutil.Process()
    spared = {mine.pid, *(parent.pid for parent in mine.parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in spared and process.environ().get(MARKER) == str(home):
                found.append(process)
        except psutil.Error:  # another user's, or gone: not ours either way
            continue
    return found


def stop(processes: Iterable[psutil.Process], *, grace_seconds: float) -> None:
    """SIGTERM, then SIGKILL for those that are still there. Returns when all are gone.

    Raises:
        TransientError: one outlived even that, as a process that waits for a disk does.
    """
    waiting = list(processes)
    for process in waiting:
        _signal(process.terminate)
    left = _wait(waiting, grace_seconds)
    for process in left:
        _signal(process.kill)
    left = _wait(left, _KILL_SECONDS)
    for process in waiting:
        child = _children.pop(process.pid, None)
        if child is not None:
            child.poll()
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise TransientError(f"still there {_KILL_SECONDS} s after a SIGKILL: pid {pids}")


def wait_until(
    ready: Callable[[], bool], started: Started, *, home: Path, seconds: float, stopping: threading.Event
) -> None:
    """Wait for a service to answer.

    Raises:
        TerminalError: its process ended, with what it wrote last.
        TransientError: it did not answer in time; its process was stopped.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        process = find(started, home)
        if process is None:
            raise TerminalError(f"{started.name} ended while it started. {_last_words(started)}")
        if stopping.is_set():
            raise TransientError(f"{started.name}: given up, because something else failed")
        if time.monotonic() > deadline:
            stop([process], grace_seconds=2)
            raise TransientError(f"{started.name} did not answer within {seconds:.0f} s. {_last_words(started)}")
        time.sleep(_POLL_SECONDS)


def tail(log: Path, lines: int = _LOG_LINES) -> str:
    """The last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _last_words(started: Started) -> str:
    return f"The end of {started.log}:\n{tail(Path(started.log)) or '(nothing)'}"


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run when the time is up.

    Not `psutil.wait_procs`: it waits for a zombie until its parent looks, and the parent may be an `up` that
    waits for us.
    """
    deadline = time.monotonic() + seconds
    while (processes := [p for p in processes if _runs(p)]) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return processes


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(send: Callable[[], None]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        send()
