"""A broker that dies, freezes, comes back, and runs out of disk."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress

import pytest

from infra.kafka import partitions
from infra.local import processes, stack
from infra.local.guard import guarded
from infra.local.registry import KAFKA
from infra.settings import Settings
from tests.faults.arena import Arena
from tests.faults.case import Case, gone
from tests.kafka_log import grow
from tests.servers import local
from tests.waiting import until
from verify.verification import Options

pytestmark = [pytest.mark.faults, pytest.mark.server]


@pytest.mark.parametrize("seconds", [5, 30])
def test_killed_and_restarted(arena: Arena, seconds: int):
    with arena.case(f"broker_down_{seconds}", f"broker killed -9 mid-batch, back after {seconds} s") as case:
        case.feed(30_000, rate=3_000)
        case.spawn("0")
        case.spawn("1")
        case.answered(2_000)
        arena.kill(KAFKA)
        case.report.kills += 1
        time.sleep(seconds)
        arena.start(KAFKA)
        case.recovered()
        case.drain()
        case.judge()


def test_restarted_while_a_transaction_is_open(arena: Arena):
    with arena.case("broker_open_transaction", "broker killed -9 while a frozen scorer's transaction is open") as case:
        case.feed(6_000)
        scorer = case.spawn("0", "stop@after_offsets:5")
        case.stopped(scorer.pid)
        arena.kill(KAFKA)
        case.report.kills += 1
        arena.start(KAFKA)
        scorer.send_signal(signal.SIGCONT)
        case.drain()
        case.judge()


def test_restarted_five_times(arena: Arena):
    with arena.case("broker_restarts", "broker stopped by SIGTERM and started again, five times") as case:
        case.stream(60_000, rate=1_000)
        case.spawn("0")
        case.spawn("1")
        for _ in range(5):
            before = case.progress
            case.answered(before + 1_000)
            processes.stop([arena.process(KAFKA)], grace_seconds=30)
            case.report.faults += 1
            arena.start(KAFKA)
            case.recovered()
        case.drain()
        case.judge()


def test_partitions_added(arena: Arena):
    """Not D: a card that is in another partition now has its past in the old one."""
    with arena.case("partitions_added", "the input gets twice its partitions while it is scored") as case:
        case.feed(20_000, rate=1_000)
        case.spawn("0")
        case.spawn("1")
        case.answered(2_000)
        kafka = case.settings.kafka
        grow(kafka, kafka.topics.transactions, 2 * partitions(kafka)[kafka.topics.transactions])
        case.report.faults += 1
        case.sent(60)
        case.feed(10_000)
        case.drain()
        case.judge(Options(drained=True, with_map=False))


@pytest.mark.parametrize("seconds", [5, 25, 90])
def test_frozen_inside_a_commit(arena: Arena, seconds: int):
    """25 s are past the commit's time-out, 90 s past each request's: its end is not known, and must not matter."""
    with arena.case(f"broker_frozen_{seconds}", f"broker frozen for {seconds} s inside commit_transaction") as case:
        frozen_in_commit(arena, case, seconds)
        case.judge()


def frozen_in_commit(arena: Arena, case: Case, seconds: int = 25) -> None:
    """The broker stands still when a commit is under way, past its time-out."""
    broker = arena.pid(KAFKA)
    case.feed(6_000)
    case.spawn("0", "freeze@in_commit:5", target=broker)
    try:
        case.stopped(broker)
        time.sleep(seconds)
    finally:
        os.kill(broker, signal.SIGCONT)
    case.drain()


def test_disk_full(arena: Arena, tmp_path):
    """The broker ends when its disk is full; with more room it goes on, and so do the scorers, which waited."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a small file system")
    home = tmp_path / "small"
    home.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(home)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    try:
        settings = Settings(local=local(home), hazelcast=arena.settings.hazelcast)
        with guarded(home):
            stack.up(settings, services={KAFKA})
            small = Arena.beside(arena, stack.with_addresses(settings))
            with small.case("disk_full", "the broker ends on a full disk; with room again, it is started") as case:
                broker = small.process(KAFKA)
                case.spawn("0", max_batch="2000")
                case.feed(40_000, rate=4_000)
                case.answered(4_000)
                filler = home / "filler"
                with suppress(OSError), filler.open("wb") as file:  # until there is no space left
                    while True:
                        file.write(bytes(1 << 16))
                until(lambda: gone(broker), 90, "the broker's end")
                case.report.faults += 1
                filler.unlink()
                small.start(KAFKA)
                case.drain()
                case.judge()
    finally:
        subprocess.run(["umount", "-l", str(home)], check=False)
