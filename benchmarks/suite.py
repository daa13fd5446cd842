"""The suite: what is measured, in which order, and where the results go."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import KafkaException
from hazelcast.errors import HazelcastError

from benchmarks import breakdown, comparison, features, growth, history, latency, shadow, throughput
from benchmarks.bench import Bench, Progress, running
from benchmarks.machine import stamp
from benchmarks.report import write
from infra.errors import FraudflowError, TerminalError

TRANSACTIONS, QUICK_TRANSACTIONS = 1_000_000, 200_000
RESULTS, QUICK_RESULTS = Path("benchmarks/results/full"), Path("benchmarks/results/quick")

Measure = Callable[[Bench], dict[str, Any]]


def _under_load(bench: Bench) -> dict[str, Any]:
    _, figures, settings = throughput.one_process(bench)
    bench.drop(settings)
    return latency.under_load(bench, figures["per_second"])


# In the order of running: the servers are warm by the second.
MEASURES: dict[str, Measure] = {
    "breakdown": breakdown.measure,
    "throughput": throughput.measure,
    "peers": comparison.measure,
    "latency": latency.measure,
    "latency-at-least-once": latency.measure_at_least_once,
    "end-to-end": throughput.end_to_end,
    "load": _under_load,
    "growth": growth.measure,
    "memory": growth.long_run,
    "customers": features.measure,
    "history": history.measure,
    "shadow": shadow.measure,
}
QUICK = ("breakdown", "throughput", "peers", "latency", "end-to-end")


def run(only: Sequence[str], quick: bool, out: Path | None, progress: Progress) -> Path:
    """Run the measures and write their results.

    Args:
        only: names of measures; empty: all of them, or with `quick` those that fit into two minutes.
        quick: fewer transactions, one turn each.
        out: folder of the results. Those of other measures that stand there stay, each with its own date.
        progress: told what happens.

    Returns:
        The Markdown file.

    Raises:
        TerminalError: there is no such measure, or one of them failed; the results of the others are written.
    """
    unknown = [name for name in only if name not in MEASURES]
    if unknown:
        raise TerminalError(f"no measure {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    names = [name for name in MEASURES if name in (only or (QUICK if quick else MEASURES))]
    out = out or (QUICK_RESULTS if quick else RESULTS)
    failed: dict[str, Exception] = {}
    report = out / "results.md"
    load = os.getloadavg()[0]  # above 0.5, others were at work
    with (
        tempfile.TemporaryDirectory(prefix="fraudflow-bench-") as home,
        running(Path(home), quick, QUICK_TRANSACTIONS if quick else TRANSACTIONS, progress) as bench,
    ):
        for name in names:
            began, facts = time.monotonic(), stamp() | {"load_before": round(load, 2)}
            try:
                found = MEASURES[name](bench)
            except (FraudflowError, KafkaException, HazelcastError, subprocess.SubprocessError, psutil.Error) as error:
                # What was measured before is written, and the others can still be measured.
                failed[name] = error
                progress(f"{name} failed: {error}")
                continue
            facts["seconds"] = round(time.monotonic() - began, 1)
            report = write(out, name, {"stamp": facts, "results": found})
            progress(f"{name}: done in {facts['seconds']:.0f} s")
    if failed:
        raise TerminalError("; ".join(f"{name}: {error}" for name, error in failed.items()))
    return report
