"""Newer features for a model with a past: scoring goes on while the histories with them are read."""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import TopicPartition

from infra.seeding import seed
from infra.settings import Settings
from scoring.feature_files import read_feature_files
from scoring.features import Features
from scoring.loop import ScoringLoop
from scoring.model import unpack_model
from scoring.past import Past
from scoring.scorer import Scorer
from simulator.population import write_population
from tests.integration.scored import committed, drain, simulated
from tests.integration.test_models import answers, newest, predictions, scored_again
from tests.models import trained
from tests.waiting import until

pytestmark = pytest.mark.server


class Gate:
    """Lets histories with features of one version be read when it is opened."""

    def __init__(self, version: str, monkeypatch: pytest.MonkeyPatch):
        self.opened, self.reached, self.ended = threading.Event(), threading.Event(), threading.Event()
        read_back = Past._read_back

        def waiting(past: Past, behind: list[TopicPartition], alive: Callable[[], None]) -> dict:
            if past._features.version == version:
                self.reached.set()
                while not self.opened.wait(0.05):
                    try:
                        alive()
                    except Exception:
                        self.ended.set()
                        raise
            return read_back(past, behind, alive)

        monkeypatch.setattr(Past, "_read_back", waiting)


@pytest.fixture
def run(settings: Settings, population, monkeypatch: pytest.MonkeyPatch):
    """A scorer in a thread; what it is to score with can be changed while it runs."""
    made, directory = population
    tables = read_feature_files(directory)
    scorer = Scorer(unpack_model(trained()), Features(tables), settings.scoring)
    loop = ScoringLoop(settings, scorer, "0", settings.kafka.partitions)
    wanted, stop = [scorer.features], threading.Event()
    thread = threading.Thread(target=loop.run, args=(stop.is_set, lambda: loop.change(scorer.lineup, wanted[0])))
    thread.start()
    yield made, tables, wanted, stop
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def moved(made, directory: Path) -> Features:
    """Other features, with which the model answers the same."""
    there = dataclasses.replace(made, customers=made.customers.with_columns(city=pl.lit("Newtown")))
    write_population(there, directory)
    return Features(read_feature_files(directory))


def test_scoring_goes_on_with_the_features_before_until_histories_are_read(
    settings: Settings, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made, tables, wanted, _ = run
    newer = moved(made, tmp_path)
    gate = Gate(newer.version, monkeypatch)
    seed(settings.kafka, simulated(made, 3_000), "first")
    drain(settings)
    wanted[0] = newer
    assert gate.reached.wait(30)
    seed(settings.kafka, simulated(made, 2_000), "second")
    drain(settings)
    assert committed(settings) == 5_000
    assert {p["features_version"] for p in predictions(settings)} == {tables.version}
    gate.opened.set()

    def scored_with_newer() -> bool:
        seed(settings.kafka, simulated(made, 100), f"more-{committed(settings)}")
        drain(settings)
        return newest(settings, "features_version") == {newer.version}

    until(scored_with_newer, what="the new features")
    # What was scored while they were read is in the histories too.
    assert answers(predictions(settings)) == scored_again(settings, Features(tables), unpack_model(trained()))


def test_a_scorer_that_is_stopped_reads_no_further(
    settings: Settings, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made, _, wanted, stop = run
    newer = moved(made, tmp_path)
    gate = Gate(newer.version, monkeypatch)
    seed(settings.kafka, simulated(made, 1_000), "first")
    drain(settings)
    wanted[0] = newer
    assert gate.reached.wait(30)
    stop.set()
    assert gate.ended.wait(30)
