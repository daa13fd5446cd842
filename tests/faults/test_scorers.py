"""Scorers that die, freeze, are stopped, come and go."""

import os
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.local.registry import HAZELCAST, KAFKA
from scoring.supervisor import Supervisor
from tests.conftest import environment
from tests.faults import cases
from tests.faults.arena import Arena, together
from tests.faults.case import SMALL_BATCH
from tests.faults.plan import CLOCK_JUMPS
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.server]


def test_killed_at_every_point(arena: Arena):
    points = cases.kill_points()
    together(arena, {f"killed_at_{name}": cases.killed_at(*point) for name, point in points.items()}, at_once=3)


def test_killed_in_rotation(arena: Arena):
    with arena.case("rotation", "one of three scorers killed -9 every 4 s for 60 s, restarted at once") as case:
        for slot in ("0", "1", "2"):
            case.spawn(slot)
        case.feed(60_000, rate=1_000)
        case.answered(0)
        for turn in range(15):
            time.sleep(4)
            case.kill(str(turn % 3))
            case.spawn(str(turn % 3))
        case.drain()
        case.judge()


def test_zombies(arena: Arena):
    points = ("before_metadata", "before_begin", "after_produce", "after_offsets", "in_commit")
    together(arena, {f"zombie_{point}": cases.zombie(point) for point in points}, at_once=3)


def test_loop(arena: Arena):
    scenarios = (
        cases.aborted,
        cases.aborted_before_the_next,
        cases.aborted_and_killed,
        cases.aborted_input,
        cases.joined,
        cases.joined_inside_a_take,
        cases.slow_and_killed,
    )
    together(arena, {scenario.__name__: scenario for scenario in scenarios}, at_once=3)


def test_stopped_idle_and_mid_batch(arena: Arena):
    with arena.case("sigterm", "SIGTERM idle, then mid-batch ten times") as case:
        case.spawn("0")
        case.feed(2_000)
        case.drain()
        assert case.terminate("0") < 10
        case.feed(30_000, rate=300)  # it must last until the tenth is stopped
        for _ in range(10):
            before = case.settled()  # what the one before answered may be seen late, and this one not be there yet
            case.spawn("0")
            case.answered(before)
            assert case.terminate("0") < 10
        case.spawn("0")
        case.drain()
        case.judge()


def test_stopped_while_the_broker_is_down(arena: Arena):
    with arena.case("sigterm_broker_down", "SIGTERM while the broker is down") as case:
        case.feed(20_000, rate=2_000)
        case.spawn("0")
        case.answered(1_000)
        arena.kill(KAFKA)
        try:
            case.report.kills += 1
            case.terminate("0", 30)
        finally:
            arena.start(KAFKA)
        case.spawn("0")
        case.drain()
        case.judge()


def test_stopped_while_hazelcast_is_frozen(arena: Arena):
    with arena.case("sigterm_hazelcast_frozen", "SIGTERM while a Hazelcast member stands still") as case:
        case.feed(5_000)
        case.spawn("0")
        case.answered(1_000)
        member = arena.pid(f"{HAZELCAST}-1")
        arena.signal(member, signal.SIGSTOP)
        try:
            assert case.terminate("0", 30) < 30
        finally:
            arena.signal(member, signal.SIGCONT)
        case.spawn("0")
        case.drain()
        case.judge()


def test_rebalance_storm(arena: Arena):
    with arena.case("storm", "a scorer joins or leaves every 3 s for 60 s") as case:
        case.feed(60_000, rate=1_000)
        case.spawn("0")
        case.answered(0)
        for turn in range(20):
            slot = str(1 + turn % 3)
            if slot in case.scorers:
                case.terminate(slot, 20)
            else:
                case.spawn(slot)
            time.sleep(3)
        case.drain()
        case.judge()


def test_under_a_supervisor(arena: Arena, tmp_path: Path):
    with arena.case("supervisor", "a supervisor's scorer killed -9 twice, started again by it") as case:
        small = {"FRAUDFLOW_SCORING__MAX_BATCH": SMALL_BATCH}
        supervisor = Supervisor(2, tmp_path, environment(case.settings) | small)
        try:
            case.feed(20_000, rate=1_000)
            for restarts in (1, 2):
                until(lambda: supervisor.tick().state == "scoring", what="scorers at work")
                os.kill(supervisor.pids()[0], signal.SIGKILL)
                case.report.kills += 1
                until(lambda least=restarts: supervisor.tick().restarts == least, what="the restart")
            # A supervisor works in the thread that made it: the end is waited for in another.
            with ThreadPoolExecutor(1) as pool:
                drained = pool.submit(case.drain)
                until(lambda: supervisor.tick() and drained.done(), case.drain_seconds + 10, "all input scored")
                drained.result()
        finally:
            supervisor.drain()
        case.judge()


def test_starved(arena: Arena):
    """What is open stays open: it scores on until the broker is restarted, and then waits for files."""
    what = "a scorer that may write no file and open none, and the broker killed -9; after 10 s it may again"
    with arena.case("starved", what) as case:
        case.feed(30_000, rate=1_000)
        # Where librdkafka finds no file for its threads to wake each other by, they look once a second from then on.
        scorer = case.spawn("0", max_batch="10000").pid
        case.answered(1_000)
        # Numbers of files below 4 are taken; with a limit of none, poll(2) does not look at those that are open.
        limits = {resource.RLIMIT_FSIZE: 0, resource.RLIMIT_NOFILE: 4}
        before = {limit: resource.prlimit(scorer, limit) for limit in limits}
        for limit, least in limits.items():
            resource.prlimit(scorer, limit, (least, before[limit][1]))
            case.report.faults += 1
        case.answered(case.progress + 1_000)
        arena.kill(KAFKA)
        case.report.kills += 1
        arena.start(KAFKA)
        case.sent(60)
        standing = case.settled()
        time.sleep(10)
        assert case.progress == standing, "scored without a connection"
        for limit, both in before.items():
            resource.prlimit(scorer, limit, both)
        case.recovered()
        case.drain()
        case.judge()


def test_clocks(arena: Arena):
    """Times of business are data, and times of waiting are measured by a clock that nobody sets."""
    what = "senders' clocks a day before and behind; a scorer's jumps by an hour, there and back, each second"
    with arena.case("clocks", what) as case:
        case.feed_with_clocks_wrong(5_000)
        case.feed(15_000, rate=1_000)
        case.spawn("0", faults=CLOCK_JUMPS)
        case.answered(10_000)
        case.kill("0")
        case.spawn("1", faults=CLOCK_JUMPS)
        case.drain()
        case.report.faults += 1
        case.judge()
