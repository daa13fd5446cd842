"""The processes that are measured: scorers, and anything else that reads transactions and writes answers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bench import Bench
from infra.errors import FraudflowError, TransientError
from infra.kafka import group_members
from infra.local import processes
from infra.settings import Settings

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0


@dataclass
class Measured:
    """Running processes whose CPU counts as one."""

    handles: list[psutil.Popen]
    logs: list[Path]
    reports: list[Path] = field(default_factory=list)

    def cpu_seconds(self) -> float:
        """User and system time of them and of what they started, so far."""
        total = 0.0
        for handle in self.handles:
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                total += sum(sum(p.cpu_times()[:2]) for p in [handle, *handle.children(recursive=True)])
        return total

    def rss(self) -> int:
        """Bytes of memory."""
        return sum(handle.memory_info().rss for handle in self.handles)

    def check(self) -> None:
        """Raise TransientError with the end of its log where one has ended."""
        for handle, log in zip(self.handles, self.logs, strict=True):
            if handle.poll() is not None:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise TransientError(f"{log.stem} ended with code {handle.returncode}:\n{tail}")

    def last_reports(self) -> list[dict[str, Any]]:
        """What each scorer told last of its counters; empty where it told nothing yet."""
        told = []
        for path in self.reports:
            lines = path.read_text().splitlines()
            told.append(json.loads(lines[-1]) if lines else {})
        return told

    def stop(self) -> None:
        """Tell them to end, wait, and kill what does not, with what they had started."""
        family: list[psutil.Process] = []
        for handle in self.handles:
            with suppress(psutil.NoSuchProcess):
                family += [handle, *handle.children(recursive=True)]
        processes.stop(family, grace_seconds=_STOP_SECONDS)


@contextmanager
def started(
    bench: Bench, commands: Sequence[Sequence[str]], environment: dict[str, str], name: str
) -> Iterator[Measured]:
    """Start these commands; end them afterwards. Standard output and error go to files in the bench's home."""
    folder = bench.home / "processes"
    folder.mkdir(exist_ok=True)
    base = f"{len(list(folder.iterdir()))}-{name}"
    measured = Measured([], [])
    try:
        for number, command in enumerate(commands):
            log, report = folder / f"{base}-{number}.log", folder / f"{base}-{number}.out"
            measured.logs.append(log)
            measured.reports.append(report)
            with log.open("wb") as errors, report.open("wb") as output:
                # A pipe that is held open: a supervised scorer ends with the end of its standard input.
                handle = psutil.Popen(
                    command, stdin=subprocess.PIPE, stdout=output, stderr=errors, env=environment, cwd=folder
                )
            measured.handles.append(handle)
        yield measured
    finally:
        measured.stop()


@contextmanager
def scorers(bench: Bench, settings: Settings, count: int = 1) -> Iterator[Measured]:
    """Start scorer processes of one group, as the supervisor does."""
    command = [sys.executable, "-m", "scoring.worker", "--supervised", "--slot"]
    commands = [[*command, str(slot)] for slot in range(count)]
    with started(bench, commands, bench.environment(settings), "scorer") as measured:
        yield measured


def wait_for_group(settings: Settings, measured: Measured) -> None:
    """Wait until every process is a member of the group, and the group has settled."""
    deadline = time.monotonic() + _START_SECONDS
    members = 0
    while members < len(measured.handles):
        measured.check()
        with suppress(FraudflowError):  # a coordinator that has just been made does not answer yet
            members = group_members(settings.kafka, settings.scoring.group_id)
        if time.monotonic() > deadline:
            raise TransientError("the scorers did not join their group in time")
        time.sleep(0.1)
    # The one that came first gives up partitions at its next heartbeat, within 2 s.
    if len(measured.handles) > 1:
        time.sleep(3)


def peer_python(folder: Path) -> Path:
    """The interpreter of an environment that uv makes in a folder."""
    return folder / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
