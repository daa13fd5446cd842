"""Where a scorer's microseconds go: the scoring loop itself, with a stopwatch around each of its stages.

    python -m benchmarks.breakdown DATA COUNT      (started by the suite, with its settings in the environment)

The stopwatches are put around the functions from outside, so that the loop that runs in production has none.
A stage's time is its own, less that of the stages inside it. CPU is that of the thread that runs the stage; what
librdkafka's threads use is what the process used beyond all of them.
"""

import argparse
import functools
import importlib
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bench import STATIC_MODEL, Bench
from benchmarks.processes import started
from infra.kafka import ensure_topics
from infra.settings import get_settings
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.loop import ScoringLoop
from scoring.model import load_model
from scoring.scorer import Scorer
from scoring.worker import collect_by_hand

# Stage, module, and the function or method that does it.
STAGES = (
    ("the rest of the loop", "scoring.loop", "ScoringLoop._step"),
    ("take", "scoring.consumer", "BatchConsumer.take"),
    ("the rest of scoring", "scoring.scorer", "Scorer.score"),
    ("decode", "scoring.scorer", "decode_batch"),
    ("features", "scoring.features", "Features.build"),
    ("ONNX", "scoring.model", "Model.predict"),
    ("encode", "scoring.encode", "Encoder.encode"),
    ("put the outputs together", "scoring.loop", "ScoringLoop._outputs"),
    ("begin to commit", "scoring.producer", "TransactionalProducer.send"),
    ("wait for the commit before", "scoring.producer", "TransactionalProducer.ready"),
    ("commit, in its own thread", "scoring.producer", "TransactionalProducer._commit"),
    ("produce", "scoring.producer", "Output.produce"),
)
LIBRDKAFKA = "librdkafka's threads"
# Batches before the stopwatches start: caches fill, and Python's specialising interpreter warms up.
_WARM_TRANSACTIONS = 20_000
_SECONDS = 120.0


def measure(bench: Bench) -> dict[str, Any]:
    """Run it in a process of its own and read what it found."""
    settings = bench.fresh(bench.filled)
    command = [sys.executable, "-m", "benchmarks.breakdown", str(bench.data), str(bench.transactions)]
    with started(bench, [command], bench.environment(settings), "breakdown") as measured:
        code = measured.handles[0].wait(_SECONDS + 60)
        if code:
            measured.check()
        found = measured.last_reports()[0]
    bench.drop(settings)
    return found


@dataclass
class Stopwatch:
    """Self times, CPU and wall, of nested stages, over all threads."""

    cpu_ns: dict[str, int] = field(default_factory=dict)
    wall_ns: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stacks: threading.local = field(default_factory=threading.local)

    def around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with a stopwatch around it."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            stack = self._stacks.__dict__.setdefault("inside", [])
            stack.append([0, 0])
            cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
            try:
                return function(*args, **kwargs)
            finally:
                wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
                inner_cpu, inner_wall = stack.pop()
                if stack:
                    stack[-1][0] += cpu
                    stack[-1][1] += wall
                with self._lock:
                    self.cpu_ns[stage] = self.cpu_ns.get(stage, 0) + cpu - inner_cpu
                    self.wall_ns[stage] = self.wall_ns.get(stage, 0) + wall - inner_wall

        return timed

    def put_on(self, stages: tuple[tuple[str, str, str], ...] = STAGES) -> None:
        """Replace the functions by themselves with a stopwatch.

        Raises:
            AttributeError: a stage has another name now; then the table above is to be mended.
        """
        for stage, module, path in stages:
            *owners, name = path.split(".")
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            setattr(owner, name, self.around(stage, getattr(owner, name)))

    def reset(self) -> None:
        """Forget what was measured so far."""
        self.cpu_ns.clear()
        self.wall_ns.clear()


def main() -> None:
    """Score `count` transactions under stopwatches and print one JSON object, microseconds per transaction."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("count", type=int)
    asked = parser.parse_args()
    settings = get_settings()
    output_partitions = ensure_topics(settings.kafka)[settings.kafka.topics.predictions]
    scorer = Scorer(load_model(STATIC_MODEL), Features(read_feature_files(asked.data)), settings.scoring)
    loop = ScoringLoop(settings, scorer, "breakdown", output_partitions)
    collect_by_hand()
    watch = Stopwatch()
    watch.put_on()
    started_at: dict[str, float] = {}

    def between_batches() -> None:
        if not started_at and loop.counters.transactions >= _WARM_TRANSACTIONS:
            watch.reset()
            started_at.update(
                cpu=time.process_time(), wall=time.perf_counter(), transactions=loop.counters.transactions,
                batches=loop.counters.batches,
            )  # fmt: skip
        if loop.counters.transactions >= asked.count:
            ended.update(cpu=time.process_time(), wall=time.perf_counter())

    ended: dict[str, float] = {}
    deadline = time.monotonic() + _SECONDS
    loop.run(lambda: bool(ended) or time.monotonic() > deadline, between_batches)
    if not ended:
        sys.exit(f"only {loop.counters.transactions:,} of {asked.count:,} transactions in {_SECONDS:.0f} s")
    count = loop.counters.transactions - started_at["transactions"]
    stages = {
        stage: {
            "cpu_us": watch.cpu_ns.get(stage, 0) / count / 1e3,
            "wall_us": watch.wall_ns.get(stage, 0) / count / 1e3,
        }
        for stage, _, _ in STAGES
    }
    total = (ended["cpu"] - started_at["cpu"]) / count * 1e6
    rest = total - sum(stage["cpu_us"] for stage in stages.values())
    print(
        json.dumps(
            {
                "transactions": count,
                "rows_per_batch": count / (loop.counters.batches - started_at["batches"]),
                "per_second": count / (ended["wall"] - started_at["wall"]),
                "cpu_us": total,
                "stages": stages | {LIBRDKAFKA: {"cpu_us": rest, "wall_us": 0.0}},
            }
        )
    )


if __name__ == "__main__":
    main()
