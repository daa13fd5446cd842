"""How fast the simulator makes transactions, and how fast each source of them gets into a real Kafka.

    python -m benchmarks.seeding [--rows 1000000] [--repeats 3]

Starts a Kafka of its own on a free port in a temporary home, and ends it. One process, one topic of four
partitions; committed rows over the seconds from the first connection to the last commit.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import polars as pl

from infra.kafka import delete_topics, ensure_topics
from infra.local import stack
from infra.seeding import seed
from infra.settings import LocalSettings, Settings
from infra.transaction_sources import FrameSource, Source, open_source
from simulator.population import Population, simulate_population
from simulator.transactions import Simulation

CUSTOMERS, MERCHANTS, SEED = 10_000, 800, 1


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    population = simulate_population(CUSTOMERS, MERCHANTS, SEED)

    def simulated() -> Source:
        simulation = Simulation(population, asked.rows, SEED)
        return FrameSource(simulation.frames, asked.rows, simulation.identity)

    with tempfile.TemporaryDirectory(prefix="fraudflow-bench-") as folder, _kafka(Path(folder)) as settings:
        csv, parquet = _files(population, asked.rows, Path(folder))
        print(f"{asked.rows:,} rows, median of {asked.repeats}, {os.cpu_count()} cores\n")
        print("| what | rows/s | lowest | highest |\n|---|---|---|---|")
        _report("simulator, rows as frames", asked, lambda: _simulate(population, asked.rows))
        sources: dict[str, Callable[[], Source]] = {
            "simulator into Kafka": simulated,
            "CSV into Kafka": lambda: open_source(csv),
            "Parquet into Kafka": lambda: open_source(parquet),
        }
        _seed(settings, simulated())  # the broker's code is slow until it has run for a while
        for name, source in sources.items():
            _report(name, asked, lambda source=source: _seed(settings, source()))


@contextmanager
def _kafka(home: Path) -> Iterator[Settings]:
    settings = Settings(local=LocalSettings(home=home, kafka_port=0))
    settings.kafka.bootstrap_servers = None  # not the one that the environment names
    try:
        stack.up(settings, services={stack.KAFKA})
        yield stack.with_addresses(settings)
    finally:
        stack.down(settings)


def _files(population: Population, rows: int, folder: Path) -> tuple[Path, Path]:
    csv, parquet = folder / "transactions.csv", folder / "transactions.parquet"
    frame = pl.concat(Simulation(population, rows, SEED).frames())
    frame.write_csv(csv)
    frame.write_parquet(parquet)
    return csv, parquet


def _simulate(population: Population, rows: int) -> float:
    started = time.monotonic()
    for _ in Simulation(population, rows, SEED).frames():
        pass
    return time.monotonic() - started


def _seed(settings: Settings, source: Source) -> float:
    ensure_topics(settings.kafka)
    try:
        return seed(settings.kafka, source, uuid4().hex).seconds
    finally:
        delete_topics(settings.kafka, [settings.kafka.topics.transactions])


def _report(name: str, asked: argparse.Namespace, run: Callable[[], float]) -> None:
    rates = sorted(asked.rows / run() for _ in range(asked.repeats))
    print(f"| {name} | {statistics.median(rates):,.0f} | {rates[0]:,.0f} | {rates[-1]:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
