"""Hazelcast members that die, freeze, and come back empty. Features are what scorers have of them."""

import signal
import time
from pathlib import Path

import pytest

from infra.local.registry import HAZELCAST
from tests.faults.arena import Arena
from verify.verification import Options

_FLOOD = 190_000
# With the largest batches a scorer takes some 250 (`fraudflow bench`, memory).
_MEMORY_MB = 500

pytestmark = [pytest.mark.faults, pytest.mark.server]


def test_one_of_two_killed(arena: Arena):
    with arena.case("member_killed", "one of two Hazelcast members killed -9; the map is the topic afterwards") as case:
        case.project()
        case.feed(20_000, rate=2_000)
        case.spawn("0")
        case.answered(2_000)
        arena.kill(f"{HAZELCAST}-2")
        case.report.kills += 1
        case.spawn("1")  # takes its features from the member that is left
        case.drain()
        case.judge(Options(drained=True, against=arena.baseline))


def test_both_killed_and_back_empty(arena: Arena):
    """Scorers go on with the features they have; a new one waits until there are some again."""
    with arena.case("members_empty", "both members killed -9, back with empty maps, features loaded again") as case:
        case.feed(30_000, rate=2_000)
        case.spawn("0")
        case.answered(2_000)
        for number in (1, 2):
            arena.kill(f"{HAZELCAST}-{number}")
            case.report.kills += 1
        before = case.progress
        case.answered(before + 2_000)
        arena.start(HAZELCAST)
        case.kill("0")
        seen = case.progress
        case.spawn("1")  # finds no features
        time.sleep(15)  # longer than the dead scorer's session and an open transaction
        standing = case.progress
        assert standing - seen < 2_000, "scored without features"
        time.sleep(3)
        assert case.progress == standing, "scored without features"
        arena.load_features()
        case.project()
        case.drain()
        case.judge(Options(drained=True, against=arena.baseline))


@pytest.mark.parametrize(("numbers", "seconds"), [((2,), 20), ((1, 2), 30)], ids=["one", "both"])
def test_frozen(arena: Arena, numbers: tuple[int, ...], seconds: int):
    """Scoring goes on meanwhile, and the map is the topic afterwards, though the members may have parted."""
    which = "one member" if len(numbers) == 1 else "both members"
    with arena.case(f"members_frozen_{len(numbers)}", f"{which} frozen for {seconds} s, then awake") as case:
        case.project()
        case.feed(60_000, rate=1_500)
        case.spawn("0")
        case.answered(1_000)
        members = [arena.pid(f"{HAZELCAST}-{number}") for number in numbers]
        for member in members:
            arena.signal(member, signal.SIGSTOP)
            case.report.faults += 1
        try:
            case.spawn("1")
            before = case.progress
            case.answered(before + 1_000)
            time.sleep(seconds)
            before = case.progress
            case.answered(before + 1_000)
        finally:
            for member in members:
                arena.signal(member, signal.SIGCONT)
        case.drain()
        case.projected()
        case.judge(Options(drained=True, against=arena.baseline))


def test_flood(arena: Arena):
    """What comes at once waits in Kafka, not in the scorer's memory."""
    what = f"{_FLOOD:,} transactions at once, with both members frozen; memory stays below {_MEMORY_MB} MB"
    with arena.case("flood", what) as case:
        case.feed(5_000, rate=1_000)
        scorer = case.spawn("0", max_batch="10000").pid
        case.answered(1_000)
        members = [arena.pid(f"{HAZELCAST}-{number}") for number in (1, 2)]
        for member in members:
            arena.signal(member, signal.SIGSTOP)
            case.report.faults += 1
        try:
            case.sent(30)
            case.feed(_FLOOD)
            case.report.faults += 1
            case.drain()
        finally:
            for member in members:
                arena.signal(member, signal.SIGCONT)
        peak = _peak_mb(scorer)
        assert peak < _MEMORY_MB, f"the scorer's memory came to {peak:.0f} MB"
        case.judge()


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024
