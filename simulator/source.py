"""Simulated transactions as a source, like a file of them."""

from datetime import datetime
from pathlib import Path

from infra.transaction_sources import FrameSource, Source
from simulator.population import read_population
from simulator.transactions import DAYS, START, Simulation


def simulated(data: Path, count: int, seed: int, days: int = DAYS, start: datetime = START) -> Source:
    """Transactions of the population in a data directory, over so many days from a midnight on."""
    simulation = Simulation(read_population(data), count, seed, start=start, days=days)
    return FrameSource(simulation.frames, simulation.count, simulation.identity)
