"""Starts scorer processes, starts again those that die, and adds up what they report. Knows no Prefect."""

import json
import logging
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO

from infra.errors import TerminalError
from infra.local.processes import tail
from scoring.metrics import Counters
from scoring.worker import EXIT_TERMINAL

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 30.0
# A scorer that ran that long has earned a quick restart.
HEALTHY_SECONDS = 60.0
# Below Prefect's 30 s between a cancellation and the kill.
DRAIN_SECONDS = 20.0

_COUNTS = tuple(count.name for count in fields(Counters) if count.default == 0)


@dataclass
class _Slot:
    """The place of one scorer; its name is stable, so that a successor fences its predecessor."""

    name: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    backoff: float = FIRST_BACKOFF_SECONDS
    start_at: float = 0.0
    restarts: int = 0
    report: dict[str, object] = field(default_factory=dict)
    buffer: bytes = b""


@dataclass
class Totals(Counters):
    """What all scorers together have committed since the supervisor started."""

    restarts: int = 0
    running: int = 0
    state: str = "starting"
    urls: list[str] = field(default_factory=list)
    """Where the running scorers answer `/health` and `/metrics`."""
    span: tuple[int, int] | None = None
    """When the first batch was taken and the newest committed, in ns of the clock that all processes here share."""

    @property
    def seconds(self) -> float:
        """Between the two; 0 before anything was committed."""
        return (self.span[1] - self.span[0]) / 1e9 if self.span else 0.0


class Supervisor:
    """Call `tick()` every second or so from the thread that made it: the kernel ties the children to that thread."""

    def __init__(self, processes: int, logs: Path, environment: Mapping[str, str], place: str = ""):
        """Prepare; the first `tick` starts the scorers.

        Args:
            processes: how many scorers.
            logs: the folder of their logs.
            environment: added to this process's own for the children.
            place: begins the names of the slots; scorers of the same names fence each other.
        """
        logs.mkdir(parents=True, exist_ok=True)
        self._environment = os.environ | dict(environment)
        self._slots = [_Slot(f"{place}{i}", logs / f"scorer-{i}.log") for i in range(processes)]
        self._finished = Totals()

    def pids(self) -> list[int]:
        """The process ids of the running scorers."""
        return [slot.process.pid for slot in self._slots if slot.process]

    def tick(self) -> Totals:
        """Read reports, notice deaths, restart.

        Raises:
            TerminalError: a scorer says that a restart would not help; the message is its own.
        """
        for slot in self._slots:
            self._read(slot)
            if slot.process is not None and slot.process.poll() is not None:
                self._buried(slot)
            if slot.process is None and time.monotonic() >= slot.start_at:
                self._start(slot)
        return self.totals()

    def totals(self) -> Totals:
        """The counts as last reported."""
        total = Totals(**{name: getattr(self._finished, name) for name in _COUNTS}, span=self._finished.span)
        total.latency.counts += self._finished.latency.counts
        for slot in self._slots:
            _add(total, slot.report)
            total.restarts += slot.restarts
            total.running += slot.process is not None
            if slot.process is not None and "url" in slot.report:
                total.urls.append(str(slot.report["url"]))
        states = sorted({str(slot.report.get("state", "starting")) for slot in self._slots})
        total.state = ", ".join(states)
        return total

    def drain(self) -> Totals:
        """Tell all scorers to stop, wait until they have committed; kill those that do not end."""
        for slot in self._slots:
            if slot.process is not None:
                slot.process.terminate()
        deadline = time.monotonic() + DRAIN_SECONDS
        for slot in self._slots:
            if slot.process is None:
                continue
            try:
                slot.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("scorer %s did not end within %.0f s: killed", slot.name, DRAIN_SECONDS)
                slot.process.kill()
                slot.process.wait()
            self._read(slot)
            _close(slot)
        return self.totals()

    def _start(self, slot: _Slot) -> None:
        with slot.log.open("ab") as log:
            slot.process = subprocess.Popen(
                [sys.executable, "-m", "scoring.worker", "--supervised", "--slot", slot.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
            )
        assert slot.process.stdout is not None  # noqa: S101
        os.set_blocking(slot.process.stdout.fileno(), False)
        slot.started = time.monotonic()

    def _buried(self, slot: _Slot) -> None:
        assert slot.process is not None  # noqa: S101
        code = slot.process.returncode
        self._read(slot)
        _close(slot)
        if code == EXIT_TERMINAL:
            raise TerminalError(f"scorer {slot.name} gave up: {_last_line(slot.log)}")
        _add(self._finished, slot.report)
        slot.report = {}
        if time.monotonic() - slot.started > HEALTHY_SECONDS:
            slot.backoff = FIRST_BACKOFF_SECONDS
        slot.restarts += 1
        slot.start_at = time.monotonic() + slot.backoff
        logger.warning(
            "scorer %s ended with code %s (%s); restart in %.0f s",
            slot.name,
            code,
            _last_line(slot.log),
            slot.backoff,
        )
        slot.backoff = min(slot.backoff * 2, LONGEST_BACKOFF_SECONDS)

    @staticmethod
    def _read(slot: _Slot) -> None:
        if slot.process is None or slot.process.stdout is None or slot.process.stdout.closed:
            return
        slot.buffer += _available(slot.process.stdout)
        *lines, slot.buffer = slot.buffer.split(b"\n")
        if lines:
            slot.report = json.loads(lines[-1])


def _add(total: Totals, report: dict[str, object]) -> None:
    for name in _COUNTS:
        setattr(total, name, getattr(total, name) + int(str(report.get(name, 0))))
    latency, span = report.get("latency"), report.get("span")
    if isinstance(latency, dict):
        total.latency.merge_sparse(latency)
    if isinstance(span, list):
        begin, end = total.span or span
        total.span = min(begin, span[0]), max(end, span[1])


def _available(pipe: IO[bytes]) -> bytes:
    chunks = []
    while select.select([pipe], [], [], 0)[0]:
        chunk = os.read(pipe.fileno(), 65_536)
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks)


def _close(slot: _Slot) -> None:
    if slot.process is not None:
        for pipe in (slot.process.stdin, slot.process.stdout):
            if pipe is not None:
                pipe.close()
    slot.process = None


def _last_line(log: Path) -> str:
    """What a scorer logged last, without the time and the name that stand before it."""
    lines = tail(log).strip().splitlines()
    return lines[-1].rpartition(" ERROR scoring.worker ")[2] if lines else "no log"
