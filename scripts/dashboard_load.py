"""What twenty people who look at the dashboard cost those who score: `python -m scripts.dashboard_load`.

One scorer, a fixed rate, and a map of a million predictions, all on this machine; in turns without the dashboard and
with people at it. Writes docs/dashboard-load.md.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks import latency, machine
from benchmarks.bench import Bench
from benchmarks.processes import scorers, wait_for_group
from infra.feature_store import FeatureStore
from infra.kafka import delete_topics, topic_names
from infra.local import dashboard_server, ports, processes
from infra.settings import Settings
from scoring.feature_files import read_feature_files
from scripts.dashboard_data import stack_with, wait_until
from scripts.people import Seen, looking
from simulator.population import write_population

# People come to a dashboard that runs; what it reads when it starts is not what they cost.
_SETTLE_SECONDS = 10
OUT = Path(__file__).parents[1] / "docs" / "dashboard-load.md"
_PATHS = (
    *["/"] * 8,
    "/explore", "/explore", "/explore?category=travel", "/explore?by=Merchant", "/explore?customer_gender=F",
    "/explore?threshold=0.8", "/cases", "/cases", "/cases", "/model", "/model", "/operations",
)  # fmt: skip


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=int, default=1_000_000, help="in the map before")
    parser.add_argument("--rate", type=int, default=1_000, help="transactions a second")
    parser.add_argument("--seconds", type=float, default=40, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    alone: list[dict[str, float]] = []
    watched: list[dict[str, float]] = []
    seen = Seen()
    with tempfile.TemporaryDirectory() as home, stack_with(Path(home), arguments.predictions) as (settings, client):
        bench = _SharedTopic(Path(home), settings, True, _progress, 0)
        write_population(bench.population, bench.data)
        FeatureStore(client).load(read_feature_files(bench.data))
        for _ in range(arguments.turns):
            alone.append(_turn(bench, arguments, None))
            watched.append(_turn(bench, arguments, seen))
    text = _report(arguments, alone, watched, seen)
    OUT.write_text(text)
    print(text)


class _SharedTopic(Bench):
    """Each turn's scorer writes to the topic in which the million stand, so that people see both, and they grow."""

    def fresh(self, of: Settings | None = None, partitions: int | None = None) -> Settings:
        settings = super().fresh(of, partitions)
        delete_topics(settings.kafka, [settings.kafka.topics.predictions])
        settings.kafka.topics.predictions = self.settings.kafka.topics.predictions
        return settings

    def drop(self, settings: Settings) -> None:
        shared = self.settings.kafka.topics.predictions
        delete_topics(settings.kafka, [name for name in topic_names(settings.kafka) if name != shared])


def _turn(bench: Bench, arguments: argparse.Namespace, seen: Seen | None) -> dict[str, float]:
    """Latency of one scorer in milliseconds; with `seen`, while people look, and what they waited goes there."""
    settings = bench.fresh()
    rates = [arguments.rate]
    with scorers(bench, settings) as measured:
        wait_for_group(settings, measured)
        if seen is None:
            found = latency.at_rates(bench, settings, measured, rates, arguments.seconds)
        else:
            with _dashboard(bench, settings) as url, looking(url, _PATHS, seen):
                found = latency.at_rates(bench, settings, measured, rates, arguments.seconds)
    return found[str(arguments.rate)]


@contextmanager
def _dashboard(bench: Bench, settings: Settings) -> Iterator[str]:
    address = f"{ports.HOST}:{ports.choose(0, setting='')}"
    command = [sys.executable, *dashboard_server.arguments(settings.dashboard, int(address.rpartition(":")[2]))]
    started = processes.spawn("dashboard", command, home=bench.home, env=bench.environment(settings))
    try:
        wait_until(lambda: dashboard_server.answers(address), 60, "the dashboard")
        with looking(dashboard_server.url(address), ("/", "/explore"), Seen()):
            time.sleep(_SETTLE_SECONDS)
        yield dashboard_server.url(address)
    finally:
        processes.stop([psutil.Process(started.pid)], grace_seconds=5)


def _report(
    arguments: argparse.Namespace, alone: list[dict[str, float]], watched: list[dict[str, float]], seen: Seen
) -> str:
    stamp = machine.stamp()
    lines = [
        f"# Twenty people at the dashboard, {arguments.predictions:,} predictions in Hazelcast",
        "",
        f"`{' '.join(['python', '-m', 'scripts.dashboard_load', *sys.argv[1:]])}`, {stamp['date']}, revision "
        f"{stamp['revision']}, {stamp['machine']}; scorer, servers and dashboard on the same cores.",
        "",
        f"From the moment a transaction is due until its prediction can be read, at {arguments.rate:,} a second, one "
        f"scorer, {arguments.turns} turns of {arguments.seconds:.0f} s each, in ms:",
        "",
        "| | p50 | p99 | each turn's p99 |",
        "|---|---|---|---|",
    ]
    for name, turns in (("no dashboard", alone), (f"{len(_PATHS)} people", watched)):
        p50, p99 = (statistics.median(turn[q] for turn in turns) for q in ("p50", "p99"))
        lines.append(f"| {name} | {p50:.1f} | {p99:.1f} | {', '.join(format(turn['p99'], '.1f') for turn in turns)} |")
    before, after = (statistics.median(turn["p99"] for turn in turns) for turns in (alone, watched))
    lines += [
        "",
        f"p99 with them: {100 * (after / before - 1):+.0f} %.",
        "",
        "What the people waited, in s: the answer of the server, drawing left out:",
        "",
        "| | times | p50 | p99 |",
        "|---|---|---|---|",
        *(
            f"| {name} | {len(waits):,} | {statistics.quantiles(waits, n=100)[49]:.2f} "
            f"| {statistics.quantiles(waits, n=100)[98]:.2f} |"
            for name, waits in (("a page opened", seen.opened), ("a part of it renewed by itself", seen.refreshed))
        ),
        "",
        f"Exceptions shown: {seen.exceptions}.",
        "",
    ]
    return "\n".join(lines)


def _progress(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
