"""The logic by which a benchmark could mislead: percentiles, pacing, stopwatches, counting."""

import os
import pkgutil
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks import breakdown, pacing
from benchmarks.breakdown import Stopwatch
from benchmarks.follow import follow
from benchmarks.latency import percentiles
from benchmarks.pacing import due, due_ns
from benchmarks.processes import Measured
from benchmarks.report import write


def test_a_percentile_is_a_value_that_occurred_and_needs_ten_above_it() -> None:
    found = percentiles(np.arange(1.0, 1001.0))
    assert (found["p50"], found["p99"], found["max"]) == (501, 991, 1000)
    assert "p99.9" not in found
    assert percentiles(np.arange(1.0, 10_001.0))["p99.9"] == 9991


def test_the_moment_a_transaction_is_due_does_not_move_when_sending_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0]
    monkeypatch.setattr(time, "monotonic_ns", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + int(seconds * 1e9)))
    latest = np.zeros(100)
    for first, last, now in pacing.paced(1_000, 100, start_ns=0):
        latest[first:last] = (now - due_ns(0, np.arange(first, last), 1_000)) / 1e6
        if first <= 20 < last:
            clock[0] += 50_000_000  # the system under test holds the producer up for 50 ms
    # Nothing is left out or moved: those that were due meanwhile are sent at once, and their waiting is counted.
    assert latest[21] == pytest.approx(49, abs=1.5)
    assert latest[:20].max() <= 1
    assert latest[75:].max() <= 1
    assert 40 <= (latest > 1).sum() <= 55


def test_all_transactions_are_due_in_the_end_and_none_before_the_start() -> None:
    assert due(1_000, 999, 10, 5) == 0
    assert due(0, 0, 10, 5) == 1
    assert due(0, 100_000_000, 10, 5) == 2
    assert due(0, 10**12, 10, 5) == 5


def test_a_stage_is_charged_with_its_own_time_only() -> None:
    watch = Stopwatch()

    def burn(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    inner = watch.around("inner", burn)
    outer = watch.around("outer", lambda: (burn(0.02), inner(0.06), time.sleep(0.05)))
    outer()
    assert watch.cpu_ns["inner"] == pytest.approx(60e6, rel=0.3)
    assert watch.cpu_ns["outer"] == pytest.approx(20e6, rel=0.5)
    assert watch.wall_ns["outer"] - watch.cpu_ns["outer"] > 45e6  # the sleep is waiting, not CPU


def test_the_stages_of_the_breakdown_are_there() -> None:
    watch = Stopwatch()
    before = {stage: _named(module, path) for stage, module, path in breakdown.STAGES}
    try:
        watch.put_on()
        assert all(_named(module, path) is not before[stage] for stage, module, path in breakdown.STAGES)
    finally:
        for stage, module, path in breakdown.STAGES:
            owner, _, name = f"{module}.{path}".rpartition(".")
            setattr(_resolve(owner), name, before[stage])


def _named(module: str, path: str) -> object:
    return _resolve(f"{module}.{path}")


def _resolve(dotted: str) -> object:
    return pkgutil.resolve_name(dotted)


def test_a_rate_counts_from_the_first_answers_that_were_seen_to_the_last(tmp_path: Path) -> None:
    this = Measured([psutil.Popen(["sleep", "30"])], [tmp_path / "log"])
    counts = iter([0, 0, 10_000, 10_000, 60_000, 110_000])
    try:
        followed = follow(lambda: next(counts, 110_000), this, 110_000)
    finally:
        this.stop()
    assert followed.transactions == 100_000  # the first batch came before the clock started
    assert [point.count for point in followed.points] == [10_000, 60_000, 110_000]
    assert followed.seconds == pytest.approx(followed.points[-1].at - followed.points[0].at)


def test_results_of_other_measures_stay_in_the_folder(tmp_path: Path) -> None:
    stamp = {
        "command": "c",
        "revision": "r",
        "date": "d",
        "machine": "m",
        "system": "s",
        "versions": {},
        "load_before": 0,
    }
    run = {"count": 10.0, "max": 3.0, "producer_late_p99_ms": 0.1}
    write(tmp_path, "latency", {"stamp": stamp, "results": {"100": run}})
    page = write(tmp_path, "load", {"stamp": stamp, "results": {"maximum": 5.0, "rates": {"4": run}}}).read_text()
    assert "## latency" in page
    assert "## load" in page
    assert {"latency.svg", "load.svg", "results.json", "results.md"} == set(os.listdir(tmp_path))
