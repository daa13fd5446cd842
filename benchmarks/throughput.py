"""Kafka to Kafka, exactly-once: transactions per second and CPU per transaction; the floor; the way into Hazelcast."""

import sys
from typing import Any

from benchmarks.bench import Bench
from benchmarks.follow import Followed, Topic, follow
from benchmarks.processes import Measured, scorers, started, wait_for_group
from infra.hazelcast import connect
from infra.kafka import partitions
from infra.projection import Projection
from infra.settings import Settings

# No more than a member keeps: the map would never hold them all.
_PROJECTED, _QUICK_PROJECTED = 200_000, 100_000
_WARM_RUNS, _COUNTED_RUNS = 5, 3


def one_process(bench: Bench) -> tuple[Followed, dict[str, Any], Settings]:
    """One scorer over the filled topic. Returns also its figures, and the settings that name its predictions."""
    settings = bench.fresh(bench.filled)
    topic = Topic(settings.kafka, settings.kafka.topics.predictions, committed=True)
    with scorers(bench, settings) as measured:
        followed = follow(topic, measured, bench.transactions, servers=bench.server_pids())
        measured.stop()
        figures = figures_of(followed) | _inference(measured)
    return followed, figures, settings


def processes(bench: Bench, count: int, transactions: int, topic_partitions: int | None = None) -> dict[str, Any]:
    """Several scorers of one group, which all begin at the same moment."""
    settings = bench.fresh(partitions=topic_partitions)
    with (
        bench.held_back(settings, transactions) as release,
        scorers(bench, settings, count) as measured,
    ):
        wait_for_group(settings, measured)
        release()
        topic = Topic(settings.kafka, settings.kafka.topics.predictions, committed=True)
        followed = follow(topic, measured, transactions, servers=bench.server_pids())
        measured.stop()
        figures = figures_of(followed) | _inference(measured)
    figures |= {"processes": count, "partitions": partitions(settings.kafka)[settings.kafka.topics.predictions]}
    bench.drop(settings)
    return figures


def floor(bench: Bench) -> dict[str, Any]:
    """Consume, decode, model, produce: one process, the same batches and transactions."""
    settings = bench.fresh(bench.filled)
    topic = Topic(settings.kafka, settings.kafka.topics.predictions, committed=True)
    command = [sys.executable, "-m", "benchmarks.floor", str(bench.data)]
    with started(bench, [command], bench.environment(settings), "floor") as measured:
        figures = figures_of(follow(topic, measured, bench.transactions, servers=bench.server_pids()))
    bench.drop(settings)
    return figures


def measure(bench: Bench) -> dict[str, Any]:
    """One process and the floor in turn, then two processes; of each the run with the median rate."""
    repeats = 1 if bench.quick else 3
    runs: dict[str, list[dict[str, Any]]] = {"one process": [], "floor": [], "two processes": []}
    for turn in range(repeats):
        bench.progress(f"throughput: one process and the floor, {turn + 1} of {repeats}")
        _, figures, settings = one_process(bench)
        bench.drop(settings)
        runs["one process"].append(figures)
        runs["floor"].append(floor(bench))
    for turn in range(repeats):
        bench.progress(f"throughput: two processes, {turn + 1} of {repeats}")
        runs["two processes"].append(processes(bench, 2, bench.transactions))
    medians = {name: _middle(of) for name, of in runs.items()}
    ours, lowest = medians["one process"], medians["floor"]
    return medians | {
        "transactions": bench.transactions,
        "all runs, transactions/s": {name: sorted(round(run["per_second"]) for run in of) for name, of in runs.items()},
        "CPU, times the floor": ours["cpu_us"] / lowest["cpu_us"],
        "time, times the floor": lowest["per_second"] / ours["per_second"],
    }


def end_to_end(bench: Bench) -> dict[str, Any]:
    """Until every prediction is in `predictionResult`: Kafka, one scorer and the projection on one machine.

    A member's code is compiled while it runs, for its first million predictions on two cores: what the first run
    reaches is told beside the median of those after a million.
    """
    if bench.quick:
        return _end_to_end(bench, _QUICK_PROJECTED) | {"member": "just started"}
    runs = []
    for turn in range(_WARM_RUNS + _COUNTED_RUNS):
        bench.progress(f"end to end: {turn + 1} of {_WARM_RUNS + _COUNTED_RUNS}, to warm the member and then to count")
        runs.append(_end_to_end(bench, _PROJECTED))
    return _middle(runs[_WARM_RUNS:]) | {
        "member": "warm",
        "all runs, transactions/s": [round(run["per_second"]) for run in runs],
    }


def _middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run with the median rate."""
    return sorted(runs, key=lambda run: run["per_second"])[len(runs) // 2]


def _end_to_end(bench: Bench, count: int) -> dict[str, Any]:
    settings = bench.fresh()
    client = connect(settings.hazelcast)
    projection = Projection(client, settings)
    try:
        projection.rebuild()
        with bench.held_back(settings, count) as release, scorers(bench, settings) as measured:
            wait_for_group(settings, measured)
            release()
            followed = follow(projection.size, measured, count, servers=bench.server_pids())
    finally:
        projection.drop()
        projection.clear()
        client.shutdown()
    bench.drop(settings)
    return figures_of(followed)


def figures_of(followed: Followed) -> dict[str, Any]:
    """The figures that every run has."""
    return {
        "transactions": followed.transactions,
        "seconds": round(followed.seconds, 3),
        "per_second": followed.per_second,
        "cpu_us": followed.cpu_us,
        "servers_cpu_us": followed.server_us(),
        "rss_mb": round(followed.points[-1].rss / 2**20),
    }


def _inference(measured: Measured) -> dict[str, Any]:
    """From the scorers' own counters: the model's time per transaction, and the size of batches."""
    reports = [report for report in measured.last_reports() if report.get("transactions")]
    transactions = sum(report["transactions"] for report in reports)
    if not transactions:
        return {}
    return {
        "inference_us": sum(report["inference_ns"] for report in reports) / transactions / 1e3,
        "rows_per_batch": round(transactions / sum(report["batches"] for report in reports)),
        "aborts": sum(report["aborts"] for report in reports),
        "dead_letters": sum(report["dead_letters"] for report in reports),
    }
