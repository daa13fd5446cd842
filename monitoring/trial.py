"""Tries the monitor's drift checks: weeks in which nothing happens, and weeks in which something was planted.

`python -m monitoring.trial` simulates weeks like those that the project's model has learnt from, scores them with it,
and writes what the checks say to monitoring/results/drift.md.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from infra.settings import KafkaSettings, MonitorSettings, ScoringSettings
from infra.transaction_sources import FrameSource
from monitoring.checks import Drift, Operations, Quality, drift_of, findings_of
from monitoring.window import Window
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.model import PROJECT_MODEL, Model, load_model
from simulator.demo import ensure_demo_data
from simulator.population import Population, read_population
from simulator.transactions import FRAUD_RATE, Simulation
from training import dataset
from training.labels import DAY
from training.served import predict_part
from training.sources import pieces_of
from training.split import Part

RESULTS = Path(__file__).parent / "results"
# As many a day as in the training data of the project's model.
A_DAY = 2_000_000 // 90
START = datetime(2025, 3, 3)  # noqa: DTZ001 - card slips carry the shop's wall clock
QUIET_SEEDS = (11, 12, 13)
QUIET_WEEKS = 4
_TEXT = "%Y-%m-%d %H:%M:%S"

Change = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Planted:
    """Something that happens in the second week."""

    title: str
    change: Change = lambda frame: frame
    fraud_rate: float = FRAUD_RATE


def _later(frame: pl.DataFrame) -> pl.DataFrame:
    at = pl.col("transaction_date").str.to_datetime(_TEXT)
    return frame.with_columns((at + pl.duration(hours=8)).dt.strftime(_TEXT).alias("transaction_date"))


def _one_shop(frame: pl.DataFrame) -> pl.DataFrame:
    row = pl.int_range(pl.len())
    first = frame["merchant"][0]
    return frame.with_columns(pl.when(row % 3 == 0).then(pl.lit(first)).otherwise("merchant").alias("merchant"))


PLANTED = (
    Planted("amounts rise by a half", lambda frame: frame.with_columns(pl.col("amt") * 1.5)),
    Planted("amounts double", lambda frame: frame.with_columns(pl.col("amt") * 2)),
    Planted("clocks are 8 hours ahead", _later),
    Planted("shops' places move 2 degrees north", lambda frame: frame.with_columns(pl.col("merch_lat") + 2)),
    Planted("each third purchase is at one shop", _one_shop),
    Planted("fraud is 10 times as frequent", fraud_rate=10 * FRAUD_RATE),
)


def main() -> None:
    """Simulate, score, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(".fraudflow/demo-data"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    ensure_demo_data(arguments.data)
    population = read_population(arguments.data)
    features = Features(read_feature_files(arguments.data))
    model = load_model(PROJECT_MODEL)
    quiet = {
        f"week {week}, seed {seed}": drift
        for seed in QUIET_SEEDS
        for week, drift in _weeks(population, features, model, seed, QUIET_WEEKS + 1, Planted("nothing"))
    }
    loud = {
        planted.title: drift
        for planted in PLANTED
        for _, drift in _weeks(population, features, model, QUIET_SEEDS[0], 2, planted)
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "drift.md").write_text(_markdown(model, quiet, loud))
    told = {"model": model.version, "quiet": _plain(quiet), "planted": _plain(loud)}
    (arguments.out / "drift.json").write_text(json.dumps(told, indent=1) + "\n")
    print((arguments.out / "drift.md").read_text())


def _weeks(
    population: Population, features: Features, model: Model, seed: int, weeks: int, planted: Planted
) -> Iterator[tuple[int, Drift]]:
    """The drift of each week but the first, which only fills the cards' past."""
    count = A_DAY * 7 * weeks
    simulation = Simulation(population, count, seed, planted.fraud_rate, start=START, days=7 * weeks)

    def frames(skip: int) -> Iterator[pl.DataFrame]:
        return (planted.change(frame) for frame in simulation.frames(skip))

    with tempfile.TemporaryDirectory() as place:
        source = FrameSource(frames, count, simulation.identity)
        built = dataset.build(pieces_of(source, KafkaSettings()), features, {}, Path(place) / "h", {"source": ""})
        week = (np.asarray(built.time) - built.time.min()) // (7 * DAY)
        for number in range(1, weeks):
            rows = np.flatnonzero(week == number)
            most = MonitorSettings().max_rows
            rows = np.sort(np.random.default_rng(seed).choice(rows, min(most, len(rows)), replace=False))
            part = Part(rows, np.asarray(built.own[rows]))
            window = Window(
                names=model.manifest.names,
                inputs=built.matrix(rows, model.manifest.names),
                score=predict_part(model, built, part),
                time=built.time[rows],
                label=part.label,
                newest=np.ones(len(rows), bool),
                predictions=len(rows),
            )
            yield number, drift_of(window, model.manifest, ScoringSettings().threshold())


def _plain(found: dict[str, Drift]) -> dict[str, dict[str, float]]:
    return {title: {name: round(index, 4) for name, index in drift.index.items()} for title, drift in found.items()}


def _markdown(model: Model, quiet: dict[str, Drift], loud: dict[str, Drift]) -> str:
    limit = MonitorSettings().psi
    calm = [
        f"| {title} | {_largest(drift)} | {drift.alerts:,}, promised {drift.promised_alerts:,.0f} "
        f"| {'; '.join(_alarms(drift)) or 'none'} |"
        for title, drift in quiet.items()
    ]
    alarms = [f"| {title} | {'; '.join(_alarms(drift)) or 'none'} |" for title, drift in loud.items()]
    newline = "\n"
    return f"""# What the monitor's drift checks say

By `python -m monitoring.trial`: model {model.version}, {A_DAY:,} transactions a day, {MonitorSettings().max_rows:,} of
each week looked at; a PSI of {limit:g} is an alarm, and {MonitorSettings().alert_factor:g} times as many alerts.

## Weeks in which nothing happens

| week | largest PSI | alerts | alarms |
|---|---|---|---|
{newline.join(calm)}

## Weeks in which something was planted

| planted | alarms |
|---|---|
{newline.join(alarms)}
"""


def _largest(drift: Drift) -> str:
    name, index = next(iter(drift.index.items()))
    return f"{name} {index:.3f}"


def _alarms(drift: Drift) -> list[str]:
    """What the monitor would tell of a week in which nothing else is wrong."""
    now = datetime.now(UTC)
    calm = Operations(lag=0, dead_letters=0, predictions=drift.rows, features_loaded=now, now=now)
    found = findings_of(drift, Quality(0, 0, 0, 0, None, None), calm, MonitorSettings())
    return [finding.text for finding in found]


if __name__ == "__main__":
    main()
