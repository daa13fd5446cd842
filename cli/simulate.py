"""`fraudflow simulate`: files from the simulator."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from polars.io.plugins import register_io_source
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from infra.errors import TerminalError
from infra.whole_file import written_whole
from simulator.population import simulate_population, write_population
from simulator.transactions import DAYS, FRAUD_RATE, SCHEMA, Simulation


class Format(StrEnum):
    """How the transactions are written."""

    csv = "csv"
    parquet = "parquet"


def simulate(
    out: Annotated[Path, typer.Option(help="Directory to write to; created if missing.")],
    customers: Annotated[int, typer.Option(min=1, max=10_000_000)] = 10_000,
    merchants: Annotated[int, typer.Option(min=14, max=1_000_000)] = 800,
    transactions: Annotated[int, typer.Option(min=0)] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 1,
    fraud_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of fraudulent rows.")] = FRAUD_RATE,
    format: Annotated[Format, typer.Option(help="Of the transactions.")] = Format.csv,  # noqa: A002 - the option's name
    days: Annotated[int, typer.Option(min=1, max=3650, help="Length of the period.")] = DAYS,
) -> None:
    """Write customers, merchants, dictionaries and transactions with known fraud."""
    console = Console(stderr=True)
    population = simulate_population(customers, merchants, seed)
    try:
        write_population(population, out)
    except OSError as error:
        raise TerminalError(f"cannot write to {out}: {error.strerror}") from error
    simulation = Simulation(population, transactions, seed, fraud_rate, days=days)
    path = out / f"transactions.{format}"
    columns = (TextColumn("transactions"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("transactions", total=transactions)
        rows = (_shown(frame, progress, task) for frame in simulation.frames())
        try:
            with written_whole(path) as part:
                (_write_csv if format is Format.csv else _write_parquet)(rows, part)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise TerminalError(f"cannot write {path}: {error}") from error
    console.print(f"{customers:,} customers, {merchants:,} merchants and {transactions:,} transactions in {out}")


def _shown(frame: pl.DataFrame, progress: Progress, task) -> pl.DataFrame:
    progress.advance(task, frame.height)
    return frame


def _write_csv(frames, path: Path) -> None:
    with path.open("wb") as file:
        pl.DataFrame(schema=SCHEMA).write_csv(file)
        for frame in frames:
            frame.write_csv(file, include_header=False)


def _write_parquet(frames, path: Path) -> None:
    # sink_parquet over a generator writes row groups as they come, in bounded memory.
    lazy = register_io_source(lambda *_: frames, schema=SCHEMA)
    lazy.sink_parquet(path, row_group_size=100_000)
