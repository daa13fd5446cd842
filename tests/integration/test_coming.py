"""Newer features for a model with a past: scoring goes on while the histories with them are read."""

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import TopicPartition

from infra.errors import FraudflowError, TerminalError
from infra.feature_tables import FeatureTables
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
        self.refusal: TerminalError | None = None
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
                if self.refusal:
                    raise self.refusal
            return read_back(past, behind, alive)

        monkeypatch.setattr(Past, "_read_back", waiting)


@dataclasses.dataclass
class Running:
    """A scorer in a thread; what it is to score with can be changed while it runs."""

    loop: ScoringLoop
    scorer: Scorer
    stop: threading.Event = dataclasses.field(default_factory=threading.Event)
    ended: Future[None] = dataclasses.field(default_factory=Future)

    def __post_init__(self) -> None:
        self.wanted = self.scorer.features

    def run(self) -> None:
        try:
            self.ended.set_result(
                self.loop.run(self.stop.is_set, lambda: self.loop.change(self.scorer.lineup, self.wanted))
            )
        except FraudflowError as error:
            self.ended.set_exception(error)


@pytest.fixture
def tables(population) -> FeatureTables:
    return read_feature_files(population[1])


@pytest.fixture
def running(settings: Settings, tables: FeatureTables):
    scorer = Scorer(unpack_model(trained()), Features(tables), settings.scoring)
    started = Running(ScoringLoop(settings, scorer, "0", settings.kafka.partitions), scorer)
    thread = threading.Thread(target=started.run)
    thread.start()
    yield started
    started.stop.set()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def newer(population, tmp_path: Path) -> Features:
    """Other features, with which the model answers the same."""
    made, _ = population
    there = dataclasses.replace(made, customers=made.customers.with_columns(city=pl.lit("Newtown")))
    write_population(there, tmp_path)
    return Features(read_feature_files(tmp_path))


@pytest.fixture
def gate(settings: Settings, population, running: Running, newer: Features, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """3,000 transactions are scored, and their histories with the newer features are about to be read."""
    closed = Gate(newer.version, monkeypatch)
    seed(settings.kafka, simulated(population[0], 3_000), "first")
    drain(settings)
    running.wanted = newer
    assert closed.reached.wait(30)
    return closed


def test_scoring_goes_on_with_the_features_before_until_histories_are_read(
    settings: Settings, population, tables: FeatureTables, newer: Features, gate: Gate
):
    made, _ = population
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


def test_a_scorer_that_is_stopped_reads_no_further(running: Running, gate: Gate):
    running.stop.set()
    assert gate.ended.wait(30)


def test_a_log_that_cannot_be_read_ends_the_scorer_with_the_reason(running: Running, gate: Gate):
    gate.refusal = TerminalError("we may not read Transactions")
    gate.opened.set()
    with pytest.raises(TerminalError, match="we may not read Transactions"):
        running.ended.result(30)
