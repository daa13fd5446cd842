"""Faults at random times, drawn from a seed: `make soak`. SOAK_SECONDS and SOAK_SEED change it."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.local.registry import HAZELCAST, KAFKA
from tests.faults import results
from tests.faults.arena import Arena
from tests.faults.case import Case, gone
from tests.faults.plan import POINTS

pytestmark = [pytest.mark.soak, pytest.mark.server]

SECONDS = float(os.environ.get("SOAK_SECONDS", "1800"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
# Groups with topics and scorers of their own: after each kill a group stands still until the dead one's session
# ends, and more groups make more kills in the same time.
LANES = 4
SLOTS = ("0", "1")
# So that the rows of the calm run last for the half hour.
RATE = 100.0


class Soak:
    """Until when, and whether something has failed."""

    def __init__(self) -> None:
        self._ending = time.monotonic() + SECONDS
        self._failed = threading.Event()

    @property
    def left(self) -> float:
        return 0.0 if self._failed.is_set() else max(0.0, self._ending - time.monotonic())

    def run(self, part: Callable[..., None], *arguments: object) -> None:
        """Run a part; when it fails, the others need not go on."""
        try:
            part(*arguments, self)
        except BaseException:
            self._failed.set()
            raise


@pytest.mark.timeout(SECONDS + 900)
def test_soak(arena: Arena):
    soak = Soak()
    with ThreadPoolExecutor(LANES + 1) as pool:
        # Scorers are told by the kernel that their parent ended when the thread that made them does: lanes are threads.
        parts = [pool.submit(soak.run, _lane, arena, number) for number in range(LANES)]
        parts.append(pool.submit(soak.run, _servers, arena))
        for part in parts:
            part.result()


def _lane(arena: Arena, number: int, soak: Soak) -> None:
    """Scorers that die at random points, freeze and are stopped, and their successors."""
    draw = random.Random(SEED * 100 + number)
    sender = ThreadPoolExecutor(1)
    with arena.case(f"soak_{number}", f"soak, group {number + 1} of {LANES}, seed {SEED}") as case:
        case.drain_seconds = 240
        sending = sender.submit(soak.run, _send, case)
        sender.shutdown(wait=False)  # where a lane fails, nobody waits for its sender
        frozen: dict[str, float] = {}
        for slot in SLOTS:
            _spawn(case, slot, draw)
        while soak.left:
            time.sleep(0.2)
            for slot in SLOTS:
                process = case.scorers[slot]
                if process.poll() is not None:
                    # 1: the broker was away when it started. -SIGTERM: it was told before it could listen.
                    expected = (0, 1, -signal.SIGKILL, -signal.SIGTERM)
                    assert process.returncode in expected, f"a scorer ended with {process.returncode}"
                    case.report.kills += process.returncode == -signal.SIGKILL
                    _spawn(case, slot, draw)
            for slot, thaw in list(frozen.items()):
                if time.monotonic() > thaw:
                    del frozen[slot]
                    case.scorers[slot].send_signal(signal.SIGCONT)
            if draw.random() < 0.02:
                _disturb(case, draw.choice(SLOTS), frozen, draw)
        for slot in SLOTS:
            case.kill(slot)
        sending.result()
        case.spawn("0", max_batch="10000")
        case.drain()
        case.judge()
    results.write(arena.reports)


def _disturb(case: Case, slot: str, frozen: dict[str, float], draw: random.Random) -> None:
    match draw.choice(("kill", "kill", "freeze", "terminate")):
        case "kill":
            case.scorers[slot].kill()
        case "terminate":
            case.signal(slot, signal.SIGTERM)
        case _ if slot not in frozen:
            case.signal(slot, signal.SIGSTOP)
            frozen[slot] = time.monotonic() + draw.uniform(1, 12)


def _spawn(case: Case, slot: str, draw: random.Random) -> None:
    fault = f"kill@{draw.choice(POINTS)}:{draw.randint(1, 40)}:{draw.choice((0, 2, 5))}"
    case.spawn(slot, fault if draw.random() < 0.8 else "", max_batch=draw.choice(("50", "200", "1000")))


def _send(case: Case, soak: Soak) -> None:
    while left := soak.left:
        case.feed(int(RATE * min(60.0, max(1.0, left))), rate=RATE)
        case.sent(600)  # each time the broker goes away, a try may take over a minute to end


def _servers(arena: Arena, soak: Soak) -> None:
    """Broker and members die and freeze, one after the other."""
    draw = random.Random(SEED)
    with arena.case("soak_servers", "soak: broker and members killed and frozen") as case:
        while (left := soak.left - 60) > 0:
            time.sleep(min(left, draw.uniform(20, 60)))
            match draw.choice(("broker killed", "broker frozen", "member killed", "member frozen")):
                case "broker killed":
                    arena.kill(KAFKA)
                    case.report.kills += 1
                    time.sleep(draw.uniform(0, 8))
                    arena.start(KAFKA)
                case "member killed":
                    arena.kill(f"{HAZELCAST}-2")
                    case.report.kills += 1
                    time.sleep(draw.uniform(0, 5))
                    arena.start(HAZELCAST)
                    time.sleep(5)  # until the members have copied what the dead one held
                    arena.load_features()
                case what:
                    service = KAFKA if what == "broker frozen" else f"{HAZELCAST}-2"
                    process = arena.process(service)
                    process.suspend()
                    case.report.faults += 1
                    time.sleep(draw.uniform(2, 15))
                    if not gone(process):
                        process.resume()
        case.judge()
