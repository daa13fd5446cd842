"""What more of it costs: more processes, more partitions, a longer run."""

from typing import Any

from benchmarks import throughput
from benchmarks.bench import Bench
from benchmarks.follow import Point, Topic, follow
from benchmarks.processes import scorers

# Processes and partitions.
_SHAPES = ((1, 1), (1, 4), (2, 2), (2, 4), (3, 4), (2, 8), (3, 8))
_LONG_TRANSACTIONS = 10_000_000
# Points of the memory's curve.
_POINTS = 50


def measure(bench: Bench) -> dict[str, Any]:
    """Throughput against processes and partitions."""
    rows = []
    for processes, partitions in _SHAPES:
        bench.progress(f"growth: {processes} processes, {partitions} partitions")
        rows.append(throughput.processes(bench, processes, bench.transactions // 2, partitions))
    return {"transactions": bench.transactions // 2, "rows": rows}


def long_run(bench: Bench) -> dict[str, Any]:
    """One process over ten million transactions: memory and throughput as it goes."""
    count = bench.transactions if bench.quick else _LONG_TRANSACTIONS
    bench.progress(f"memory: filling a topic with {count:,} transactions")
    settings = bench.fresh()
    bench.fill(settings, count)
    points: list[Point] = []

    def each(point: Point) -> None:
        if point.count * _POINTS >= len(points) * count:
            points.append(point)
            bench.progress(f"memory: {point.count:,} scored, {point.rss / 2**20:,.0f} MB")

    with scorers(bench, settings) as measured:
        topic = Topic(settings.kafka, settings.kafka.topics.predictions, committed=True)
        followed = follow(topic, measured, count, each=each)
    bench.drop(settings)
    return throughput.figures_of(followed) | {
        "curve": [{"transactions": point.count, "rss_mb": round(point.rss / 2**20, 1)} for point in points]
    }
